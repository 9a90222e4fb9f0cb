"""What kube-proxy's iptables mode writes, rule by rule (kube-proxy 1.30 and its differences)."""

from __future__ import annotations

import pytest

from netemu.errors import UsageError
from netemu.kube.proxy.render import render

TWO = "[{addresses: [10.244.1.10], nodeName: node-a}, {addresses: [10.244.1.2]}]"
LOCAL = "externalTrafficPolicy: Local"


def rules(cluster, chain: str, *, mode: str = "iptables", version: str | None = None) -> list[str]:
    """Return the rules of chains whose names begin so, without comments."""
    text = render(cluster, "node-a", mode, version=version).rules
    found = [line for line in text.splitlines() if line.startswith(f"-A {chain}")]
    return [line.partition(" ")[2] for line in found]


def test_endpoints_are_sorted_as_text(cluster):
    """10.244.1.10 stands before 10.244.1.2; the last one needs no chance."""
    first, second, third = rules(cluster(endpoints=TWO), "KUBE-SVC-")
    assert "! -s 10.244.0.0/16 -j KUBE-MARK-MASQ" in first
    assert '"ns/web:http -> 10.244.1.10:8080" -m statistic --mode random' in second
    assert "--probability 0.5000000000" in second
    assert '"ns/web:http -> 10.244.1.2:8080" -j KUBE-SEP-' in third


def test_affinity_looks_at_recent_lists_first(cluster):
    lines = rules(cluster("sessionAffinity: ClientIP"), "KUBE-S")
    assert any("--rcheck --seconds 10800 --reap -j KUBE-SEP-" in line for line in lines)
    assert any("--set -m tcp -p tcp -j DNAT" in line for line in lines)


def test_no_endpoints_are_refused(cluster):
    found = rules(cluster(endpoints="[]", node_port=30080), "KUBE-EXTERNAL-SERVICES")
    assert found == [
        'KUBE-EXTERNAL-SERVICES -m comment --comment "ns/web:http has no endpoints"'
        " -m addrtype --dst-type LOCAL -m tcp -p tcp --dport 30080 -j REJECT"
    ]


def test_no_local_endpoints_are_dropped(cluster):
    given = cluster("type: NodePort", LOCAL, node_port=30080)
    (rule,) = rules(given, "KUBE-EXTERNAL-SERVICES")
    assert rule.endswith("--dport 30080 -j DROP")
    assert "has no local endpoints" in rule
    assert not any(line.split()[-1].startswith("KUBE-SVL-") for line in rules(given, "KUBE-EXT-"))


def test_terminating_endpoints_serve_when_none_is_ready(cluster):
    terminating = "{ready: false, serving: true, terminating: true}"
    given = cluster(endpoints=f"[{{addresses: [10.244.1.5], conditions: {terminating}}}]")
    assert any("-> 10.244.1.5:8080" in line for line in rules(given, "KUBE-SVC-"))


@pytest.mark.parametrize(
    "annotation, version, count",
    [
        ("", "1.30", 2),
        (", annotations: {service.kubernetes.io/topology-mode: Auto}", "1.30", 1),
        ("", "1.31", 1),
    ],
)
def test_zone_hints(cluster, annotation: str, version: str, count: int):
    """Since 1.31 hints count without an annotation."""
    one = "{addresses: [10.244.1.5], hints: {forZones: [{name: zone-1}]}}"
    two = "{addresses: [10.244.1.6], hints: {forZones: [{name: zone-2}]}}"
    given = cluster(endpoints=f"[{one}, {two}]", annotations=annotation)
    lines = rules(given, "KUBE-SVC-", version=version)
    assert sum(" -> " in line for line in lines) == count


def test_source_ranges_guard_the_load_balancer(cluster):
    given = cluster(
        "type: LoadBalancer",
        "loadBalancerSourceRanges: [192.168.0.0/24]",
        status="{loadBalancer: {ingress: [{ip: 198.51.100.1}, {ip: 198.51.100.2, ipMode: Proxy}]}}",
    )
    first, own, last = rules(given, "KUBE-FW-")
    assert "-s 192.168.0.0/24 -j KUBE-EXT-" in first
    assert "-s 198.51.100.1 -j KUBE-EXT-" in own
    assert last.endswith('will be dropped by KUBE-PROXY-FIREWALL"')


def test_node_port_addresses(cluster):
    given = cluster(config="nodePortAddresses: [192.168.0.0/16]", node_port=30080)
    assert rules(given, "KUBE-SERVICES")[-1].endswith("-d 192.168.0.11 -j KUBE-NODEPORTS")
    assert "KUBE-FIREWALL" not in render(given, "node-a", "iptables").rules


def test_primary_is_the_nodes_own_address(cluster):
    given = cluster(config="nodePortAddresses: [primary]", node_port=30080)
    assert rules(given, "KUBE-SERVICES")[-1].endswith("-d 192.168.0.11 -j KUBE-NODEPORTS")


def test_ipv6_is_a_family_of_its_own(cluster):
    assert "10.96.0.20" not in render(cluster(), "node-a", "iptables", octets=16).rules
    assert (
        "! -d ::1/128 -j KUBE-NODEPORTS" in render(cluster(), "node-a", "iptables", octets=16).rules
    )


@pytest.mark.parametrize("version", ["1.20", "1.34", "x"])
def test_unknown_versions_are_refused(cluster, version: str):
    with pytest.raises(UsageError, match=r"1\."):
        render(cluster(), "node-a", "iptables", version=version)


def test_nfacct_counts_since_1_31(cluster):
    given = cluster(config="x-nfacct: true", node_port=30080)
    account = "--nfacct-name ct_state_invalid_dropped_pkts -j DROP"
    assert account not in rules(given, "KUBE-FORWARD", version="1.30")[0]
    assert account in rules(given, "KUBE-FORWARD", version="1.31")[0]
    first, second = rules(given, "KUBE-NODEPORTS", version="1.31")
    assert "-d 127.0.0.0/8 --dport 30080 -m nfacct" in first
    assert "nfacct" not in second


def test_be_liberal_lets_invalid_pass_since_1_29(cluster):
    given = cluster(config="conntrack: {tcpBeLiberal: true}")
    assert len(rules(given, "KUBE-FORWARD", version="1.28")) == 3
    assert len(rules(given, "KUBE-FORWARD", version="1.29")) == 2


def test_large_clusters_have_fewer_comments(cluster):
    many = ", ".join(f"{{addresses: [10.244.{i // 250}.{i % 250}]}}" for i in range(1001))
    assert not any("->" in line for line in rules(cluster(endpoints=f"[{many}]"), "KUBE-SVC-"))


def test_userspace_mode_ends_with_1_25(cluster):
    with pytest.raises(UsageError, match=r"1\.25 was the last"):
        render(cluster(), "node-a", "userspace", version="1.26")
    (rule,) = rules(cluster(), "KUBE-PORTALS-HOST", mode="userspace")
    assert rule.endswith("-j DNAT --to-destination 192.168.0.11:33000")
