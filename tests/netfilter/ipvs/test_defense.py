"""Dropping packets and entries on purpose, by worked examples of the kernel's rules."""

from __future__ import annotations

from netemu.clock import NSEC_PER_SEC
from netemu.netfilter.ipvs.table import Ipvs

UDP = "-A -u 10.96.0.1:53 -s rr\n-a -u 10.96.0.1:53 -r 10.0.0.2:53 -m -w 1\n"
TCP = "-A -t 10.96.0.1:80 -s rr\n-a -t 10.96.0.1:80 -r 10.0.0.2:80 -m -w 1\n"
HALF_A_MINUTE = 30 * NSEC_PER_SEC


def test_drop_packet_drops_the_first_and_then_each_am_droprateth(balancer):
    node = balancer(UDP, drop_packet="3", am_droprate="3")
    sent = [len(node.send(f"udp 192.0.2.2:{port} > 10.96.0.1:53")) for port in range(1000, 1007)]
    assert sent == [0, 1, 1, 0, 1, 1, 0]


def test_drop_entry_ends_half_open_connections_and_spares_young_open_ones(balancer):
    """30 seconds look at 30 * 128 random buckets of 4096, and the entry is in one of them."""
    node = balancer(TCP, drop_entry="3")
    table = node.net.generic(Ipvs).connections
    for port in range(1000, 1040):
        node.send(f"tcp 192.0.2.2:{port} > 10.96.0.1:80 S seq=1")
        if port % 2:
            node.send(f"tcp 192.0.2.2:{port} > 10.96.0.1:80 A seq=2")
    node.node.run_until(node.node.clock.now_ns + HALF_A_MINUTE)
    left = [connection.cport for connection in table]
    assert [port for port in left if port % 2] == list(range(1001, 1040, 2))
    assert len([port for port in left if not port % 2]) < 15


def test_drop_entry_can_be_turned_on_and_off(balancer):
    """It begins with the next packet that wants a server, a second later."""
    node = balancer(TCP)
    table = node.net.generic(Ipvs).connections
    for port in range(1000, 1040):
        node.send(f"tcp 192.0.2.2:{port} > 10.96.0.1:80 S seq=1")
    node.net.sysctl.set("net.ipv4.vs.drop_entry", "3")
    node.send("tcp 192.0.2.2:999 > 10.96.0.1:80 S seq=1")
    node.node.run_until(node.node.clock.now_ns + HALF_A_MINUTE)
    assert len(table) < 30
    node.net.sysctl.set("net.ipv4.vs.drop_entry", "0")
    left = len(table)
    node.node.run_until(node.node.clock.now_ns + HALF_A_MINUTE // 2)
    assert len(table) == left
