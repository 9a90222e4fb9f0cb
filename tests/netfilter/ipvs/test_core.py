"""Balanced connections from the first packet to the last."""

from __future__ import annotations

from netemu.clock import NSEC_PER_SEC
from netemu.netfilter.ipvs.text import (
    list_connections,
    list_rates,
    list_services,
    list_stats,
    list_timeouts,
    save_rules,
)
from netemu.sim.state import state_files

ONE = """-A -t 10.96.0.1:80 -s rr
-a -t 10.96.0.1:80 -r 10.0.0.2:8080 -m -w 1
"""


def rows(text: str, skip: int) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines()[skip:]]


def test_masquerading_there_and_back(balancer):
    node = balancer(ONE, conntrack="1")
    assert node.send("tcp 192.0.2.2:40000 > 10.96.0.1:80 S") == [
        "eth1 192.0.2.2:40000 > 10.0.0.2:8080"
    ]
    assert node.send("tcp 10.0.0.2:8080 > 192.0.2.2:40000 SA", "eth1") == [
        "eth0 10.96.0.1:80 > 192.0.2.2:40000"
    ]
    assert node.send("tcp 192.0.2.2:40000 > 10.96.0.1:80 A")
    assert rows(list_connections(node.net), 2) == [
        "TCP 15:00 ESTABLISHED 192.0.2.2:40000 10.96.0.1:80 10.0.0.2:8080"
    ]
    assert rows(list_services(node.net), 4) == ["-> 10.0.0.2:8080 Masq 1 1 0"]


def test_fin_and_timeout_end_a_connection(balancer):
    node = balancer(ONE)
    node.send("tcp 192.0.2.2:40000 > 10.96.0.1:80 S")
    node.send("tcp 10.0.0.2:8080 > 192.0.2.2:40000 SA", "eth1")
    node.send("tcp 192.0.2.2:40000 > 10.96.0.1:80 FA")
    assert "TIME_WAIT" in list_connections(node.net)
    assert rows(list_services(node.net), 4) == ["-> 10.0.0.2:8080 Masq 1 0 1"]
    node.node.run_until(121 * NSEC_PER_SEC)
    assert rows(list_connections(node.net), 2) == []
    assert rows(list_services(node.net), 4) == ["-> 10.0.0.2:8080 Masq 1 0 0"]


def test_no_server_is_port_unreachable(balancer):
    """Also for TCP: there is no socket that could send a RST (ip_vs_leave)."""
    node = balancer("-A -t 10.96.0.1:80 -s rr")
    fate = node.node
    assert node.send("tcp 192.0.2.2:40000 > 10.96.0.1:80 S") == []
    assert fate.clock.now_ns == 0


def test_persistence_keeps_the_server(balancer):
    text = ONE.replace("rr", "rr -p 60") + "-a -t 10.96.0.1:80 -r 10.0.0.3:8080 -m -w 1\n"
    node = balancer(text)
    assert node.servers(3) == ["3", "3", "3"]
    assert "NONE        192.0.2.2:0        10.96.0.1:80       10.0.0.3:8080" in list_connections(
        node.net
    )
    # A weight of 0 takes no new clients, but the template's client comes back.
    node.do("-e -t 10.96.0.1:80 -r 10.0.0.3:8080 -m -w 0")
    assert node.servers(1, 41000) == ["3"]
    node.net.sysctl.set("net.ipv4.vs.expire_quiescent_template", "1")
    assert node.servers(1, 42000) == ["2"]


def test_a_removed_server_swallows_or_loses_its_connections(balancer):
    for nodest, left in (("0", 1), ("1", 0)):
        node = balancer(ONE, expire_nodest_conn=nodest)
        node.servers(1)
        node.do("-d -t 10.96.0.1:80 -r 10.0.0.2:8080")
        assert node.send("tcp 192.0.2.2:40000 > 10.96.0.1:80 A") == []
        node.node.run_until(NSEC_PER_SEC)
        assert len(rows(list_connections(node.net), 2)) == left


def test_a_server_comes_back_from_the_trash_with_its_connections(balancer):
    node = balancer(ONE)
    node.servers(3)
    node.do("-d -t 10.96.0.1:80 -r 10.0.0.2:8080")
    node.do("-a -t 10.96.0.1:80 -r 10.0.0.2:8080 -m -w 1")
    assert rows(list_services(node.net), 4) == ["-> 10.0.0.2:8080 Masq 1 3 0"]


def test_direct_routing_leaves_the_packet_alone(balancer):
    node = balancer(ONE.replace("-m", "-g"))
    assert node.send("tcp 192.0.2.2:40000 > 10.96.0.1:80 S") == [
        "eth1 192.0.2.2:40000 > 10.96.0.1:80"
    ]


def test_a_tunnel_wraps_the_packet(balancer):
    node = balancer(ONE.replace("-m", "-i"))
    (sent,) = node.send("tcp 192.0.2.2:40000 > 10.96.0.1:80 S")
    assert sent.startswith("eth1 10.0.0.1:")


def test_thresholds(balancer):
    node = balancer(ONE.replace("-w 1", "-w 1 -x 2"))
    assert node.servers(3) == ["2", "2", "-"]


def test_figures(balancer):
    node = balancer(ONE)
    node.servers(2)
    assert rows(list_stats(node.net), 3) == [
        "TCP 10.96.0.1:80 2 2 0 80 0",
        "-> 10.0.0.2:8080 2 2 0 80 0",
    ]
    node.node.run_until(2 * NSEC_PER_SEC)
    assert rows(list_rates(node.net), 3)[1] == "-> 10.0.0.2:8080 0 0 0 10 0"
    assert list_timeouts(node.net) == "Timeout (tcp tcpfin udp): 900 120 300\n"
    assert save_rules(node.net) == ONE


def test_the_state_files_hold_both_lists(balancer):
    files = state_files(balancer(ONE).node)
    assert files["ipvsadm-Ln"].startswith("IP Virtual Server version")
    assert files["ipvsadm-Lnc"].startswith("IPVS connection entries")
