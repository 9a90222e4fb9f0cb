"""What kube-proxy 1.20's iptables mode writes, rule by rule."""

from __future__ import annotations

import pytest

from netemu.errors import UsageError
from netemu.kube.proxy.render import render

TWO = "[{addresses: [10.244.1.10], nodeName: node-a}, {addresses: [10.244.1.2]}]"
LOCAL = "externalTrafficPolicy: Local"
BALANCER = ("type: LoadBalancer",)
STATUS = "{loadBalancer: {ingress: [{ip: 198.51.100.1}]}}"
NODE_PORT = "-m comment --comment ns/web:http -m tcp -p tcp --dport 30080"


def rules(cluster, chain: str) -> list[str]:
    """Return the rules of chains whose names begin so, without the chain's name."""
    text = render(cluster, "node-a", "iptables", version="1.20").rules
    found = [line for line in text.splitlines() if line.startswith(f"-A {chain}")]
    return [line.split(" ", 2)[2] for line in found]


def test_a_cluster_ip_is_marked_before_the_jump(cluster):
    """The mark is set in KUBE-SERVICES; names of endpoints stand in no comment."""
    mark, jump, _ = rules(cluster(endpoints=TWO), "KUBE-SERVICES")
    words = (
        '-m comment --comment "ns/web:http cluster IP" -m tcp -p tcp -d 10.96.0.20/32 --dport 80'
    )
    assert mark == f"{words} ! -s 10.244.0.0/16 -j KUBE-MARK-MASQ"
    assert jump.startswith(f"{words} -j KUBE-SVC-")
    first, last = rules(cluster(endpoints=TWO), "KUBE-SVC-")
    assert first.startswith("-m comment --comment ns/web:http -m statistic --mode random")
    assert "--probability 0.5000000000 -j KUBE-SEP-" in first
    assert last.startswith("-m comment --comment ns/web:http -j KUBE-SEP-")


def test_node_ports(cluster):
    mark, jump = rules(cluster(node_port=30080), "KUBE-NODEPORTS")
    assert mark == f"{NODE_PORT} -j KUBE-MARK-MASQ"
    assert jump.startswith(f"{NODE_PORT} -j KUBE-SVC-")
    mark, jump = rules(cluster("type: NodePort", LOCAL, node_port=30080), "KUBE-NODEPORTS")
    assert mark == f"{NODE_PORT} -s 127.0.0.0/8 -j KUBE-MARK-MASQ"
    assert jump.startswith(f"{NODE_PORT} -j KUBE-XLB-")


def test_a_load_balancer_leads_through_its_firewall(cluster):
    """What no range lets through is marked to be dropped, by kubelet's chain."""
    ranges = "loadBalancerSourceRanges: [203.0.113.0/25, 192.168.0.0/24]"
    words = '-m comment --comment "ns/web:http loadbalancer IP"'
    masq, jump, drop = rules(cluster(*BALANCER, status=STATUS), "KUBE-FW-")
    assert (masq, drop) == (f"{words} -j KUBE-MARK-MASQ", f"{words} -j KUBE-MARK-DROP")
    assert jump.startswith(f"{words} -j KUBE-SVC-")
    found = rules(cluster(*BALANCER, ranges, LOCAL, status=STATUS), "KUBE-FW-")
    sources = [line.removeprefix(words).partition(" -j KUBE-XLB-")[0] for line in found[:-1]]
    assert sources == [" -s 203.0.113.0/25", " -s 192.168.0.0/24", " -s 198.51.100.1/32"]
    assert found[-1] == f"{words} -j KUBE-MARK-DROP"


def test_local_traffic_has_a_chain_of_its_own(cluster):
    given = cluster(*BALANCER, LOCAL, "sessionAffinity: ClientIP", status=STATUS, endpoints=TWO)
    pods, masq, route, affine, balance = rules(given, "KUBE-XLB-")
    text = '"Redirect pods trying to reach external loadbalancer VIP to clusterIP"'
    assert pods.startswith(f"-m comment --comment {text} -s 10.244.0.0/16 -j KUBE-SVC-")
    assert masq.endswith(
        '"masquerade LOCAL traffic for ns/web:http LB IP" -m addrtype --src-type LOCAL'
        " -j KUBE-MARK-MASQ"
    )
    assert '"route LOCAL traffic for ns/web:http LB IP to service chain"' in route
    assert affine.startswith("-m comment --comment ns/web:http -m recent --name KUBE-SEP-")
    assert balance.startswith(
        '-m comment --comment "Balancing rule 0 for ns/web:http" -j KUBE-SEP-'
    )
    remote = cluster(*BALANCER, LOCAL, status=STATUS)
    assert rules(remote, "KUBE-XLB-")[-1] == (
        '-m comment --comment "ns/web:http has no local endpoints" -j KUBE-MARK-DROP'
    )


def test_external_ips_are_taken_from_off_the_machine(cluster):
    lines = rules(cluster("externalIPs: [198.51.100.7]"), "KUBE-SERVICES")
    mark, far, near = (item for item in lines if "198.51.100.7/32" in item)
    assert mark.endswith("--dport 80 -j KUBE-MARK-MASQ")
    assert "-m physdev ! --physdev-is-in -m addrtype ! --src-type LOCAL -j KUBE-SVC-" in far
    assert "-m addrtype --dst-type LOCAL -j KUBE-SVC-" in near


def test_forwarded_packets_are_those_of_pods(cluster):
    invalid, _, source, destination = rules(cluster(), "KUBE-FORWARD")
    assert invalid == "-m conntrack --ctstate INVALID -j DROP"
    state = "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"
    text = "kubernetes forwarding conntrack pod"
    assert source == f'-s 10.244.0.0/16 -m comment --comment "{text} source rule" {state}'
    assert destination == f'-m comment --comment "{text} destination rule" -d 10.244.0.0/16 {state}'


def test_what_came_later_is_not_there(cluster):
    """No firewall chain, no rule for health check ports, no jump to either; unready is gone."""
    ends = "{ready: false, serving: true, terminating: true}"
    given = cluster(
        *BALANCER,
        LOCAL,
        "healthCheckNodePort: 32000",
        "internalTrafficPolicy: Local",
        status=STATUS,
        endpoints=f"[{{addresses: [10.244.1.5], conditions: {ends}}}]",
        node_port=30080,
    )
    found = render(given, "node-a", "iptables", version="1.20")
    text = found.rules + found.jumps_text()
    assert "KUBE-PROXY-FIREWALL" not in text and "KUBE-FIREWALL" not in text
    assert "32000" not in text and "health check" not in text
    refused = rules(given, "KUBE-EXTERNAL-SERVICES")
    assert [line.endswith("-j REJECT") for line in refused] == [True, True]


def test_the_whole_node_has_kubelets_chain_to_drop(cluster):
    given = cluster(*BALANCER, LOCAL, status=STATUS)
    text = render(given, "node-a", "iptables", version="1.20").complete()
    assert "-A KUBE-MARK-DROP -j MARK --set-xmark 0x8000/0x8000\n" in text
    assert text.index("--mark 0x8000/0x8000 -j DROP") > text.index("*filter")


def test_ipvs_mode_of_1_20_is_refused(cluster):
    with pytest.raises(UsageError, match=r"IPVS mode of kube-proxy 1\.20 is not known"):
        render(cluster(), "node-a", "ipvs", version="1.20")
