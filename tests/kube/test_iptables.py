"""What kube-proxy's iptables mode writes, rule by rule (kube-proxy 1.30 and its differences)."""

from __future__ import annotations

import msgspec
import pytest

from netemu.errors import UsageError
from netemu.kube.objects import Service, ServiceSpec
from netemu.kube.proxy.render import render
from netemu.kube.service_ports import IPV4, IPV6, family_of
from netemu.sim.spec import TextFile
from netemu.snapshot.objects import read_cluster

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


@pytest.mark.parametrize("version", ["1.19", "1.22", "1.24", "1.34", "x"])
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


def test_counters_that_are_there_mean_a_version_that_uses_them(cluster):
    """Without --proxy-version: a configuration that tells of them is none of 1.30."""
    assert "nfacct" in rules(cluster(config="x-nfacct: true"), "KUBE-FORWARD")[0]
    assert "nfacct" not in rules(cluster(config="x-nfacct: false"), "KUBE-FORWARD")[0]


def test_source_ranges_lose_their_host_bits_since_1_30(cluster):
    """kube-proxy keeps them as net.IPNet since then, which prints the network."""
    given = cluster(
        "type: LoadBalancer",
        "loadBalancerSourceRanges: [203.0.113.200/25]",
        status="{loadBalancer: {ingress: [{ip: 198.51.100.7}]}}",
    )
    assert "-s 203.0.113.128/25 " in rules(given, "KUBE-FW-")[0]
    assert "-s 203.0.113.200/25 " in rules(given, "KUBE-FW-", version="1.29")[0]


def test_the_family_is_that_of_the_services():
    spec = ServiceSpec(cluster_ip="fd00:96::20", cluster_ips=["fd00:96::20"])
    new, headless = Service(spec=spec), Service(spec=ServiceSpec(cluster_ip="None"))
    assert family_of([headless, new]) == IPV6
    assert family_of([Service(spec=ServiceSpec(cluster_ip="10.96.0.20")), new]) == IPV4
    assert family_of([headless]) == IPV4


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


RANGES = ("type: LoadBalancer", "loadBalancerSourceRanges: [203.0.113.0/25]")
ADDRESS = "{loadBalancer: {ingress: [{ip: 198.51.100.1}]}}"


def test_source_ranges_of_a_service_without_endpoints_drop_nothing(cluster):
    """usesFWChain needs endpoints: whoever asks is refused, in the ranges or not."""
    given = cluster(*RANGES, status=ADDRESS, endpoints="[]")
    assert rules(given, "KUBE-PROXY-FIREWALL") == []
    (refusal,) = rules(given, "KUBE-EXTERNAL-SERVICES")
    assert refusal.endswith("-d 198.51.100.1 --dport 80 -j REJECT")


def test_source_ranges_of_a_service_without_local_endpoints_still_drop(cluster):
    given = cluster(*RANGES, LOCAL, status=ADDRESS)
    (drop,) = rules(given, "KUBE-PROXY-FIREWALL")
    assert drop.endswith("-d 198.51.100.1 --dport 80 -j DROP")


def test_only_endpoints_of_services_make_a_cluster_large(cluster):
    """Slices that no Service port belongs to do not count."""
    given = cluster()
    many = ", ".join(f"{{addresses: [10.244.{i // 250}.{i % 250}]}}" for i in range(1001))
    other = cluster(endpoints=f"[{many}]").slices[0]
    meta = msgspec.structs.replace(
        other.metadata, name="x", labels={"kubernetes.io/service-name": "x"}
    )
    given.add([msgspec.structs.replace(other, metadata=meta)])
    assert any('-> 10.244.1.5:8080"' in line for line in rules(given, "KUBE-SVC-"))


def test_of_two_local_endpoints_with_one_address_the_later_counts(cluster):
    """As where a pod that ends and its successor share an address for a moment."""
    ends = "conditions: {ready: false, serving: false, terminating: true}"
    both = "{addresses: [10.244.1.5], nodeName: node-a"
    assert rules(cluster(endpoints=f"[{both}, {ends}}}, {both}}}]"), "KUBE-SEP-")
    assert rules(cluster(endpoints=f"[{both}}}, {both}, {ends}}}]"), "KUBE-SEP-") == []


def test_terminating_endpoints_serve_since_1_26(cluster):
    terminating = "{ready: false, serving: true, terminating: true}"
    given = cluster(endpoints=f"[{{addresses: [10.244.1.5], conditions: {terminating}}}]")
    assert rules(given, "KUBE-SVC-", version="1.25") == []
    assert rules(given, "KUBE-SVC-", version="1.26")


@pytest.mark.parametrize(
    "annotation, old, new",
    [
        ("topology-aware-hints: auto", 1, 1),
        ("topology-aware-hints: zone", 2, 1),
        ("topology-mode: Auto", 2, 1),
        ("topology-aware-hints: disabled, service.kubernetes.io/topology-mode: Auto", 2, 2),
    ],
)
def test_words_that_ask_for_hints(cluster, annotation: str, old: int, new: int):
    """Until 1.26 the one annotation had to say Auto; the older one goes before the newer."""
    one = "{addresses: [10.244.1.5], hints: {forZones: [{name: zone-1}]}}"
    two = "{addresses: [10.244.1.6], hints: {forZones: [{name: zone-2}]}}"
    given = cluster(
        endpoints=f"[{one}, {two}]",
        annotations=f", annotations: {{service.kubernetes.io/{annotation}}}",
    )
    for version, count in (("1.26", old), ("1.27", new)):
        lines = rules(given, "KUBE-SVC-", version=version)
        assert sum(" -> " in line for line in lines) == count


def test_addresses_behind_a_proxy_are_left_alone_since_1_30(cluster):
    status = "{loadBalancer: {ingress: [{ip: 198.51.100.1, ipMode: Proxy}]}}"
    given = cluster("type: LoadBalancer", status=status)
    assert any("198.51.100.1" in line for line in rules(given, "KUBE-SERVICES", version="1.29"))
    assert not any("198.51.100.1" in line for line in rules(given, "KUBE-SERVICES"))


def test_loopback_was_no_case_of_its_own_before_1_26(cluster):
    given = cluster(config="iptables: {localhostNodePorts: false}", node_port=30080)
    words = "-m addrtype --dst-type LOCAL ! -d 127.0.0.0/8 -j KUBE-NODEPORTS"
    assert rules(given, "KUBE-SERVICES", version="1.26")[-1].endswith(words)
    assert "127.0.0.0/8" not in rules(given, "KUBE-SERVICES", version="1.25")[-1]


def test_the_jump_to_the_firewall_is_made_even_where_the_chain_is_empty(cluster):
    """kube-proxy ensures its jumps and their chains, whatever it writes into them."""
    given = cluster(config="iptables: {localhostNodePorts: false}")
    found = render(given, "node-a", "iptables")
    assert "KUBE-FIREWALL" not in found.rules
    text = found.jumps_text()
    assert ":KUBE-FIREWALL - [0:0]" in text
    assert text.count("-j KUBE-FIREWALL") == 2
    assert ":KUBE-FIREWALL" not in render(cluster(), "node-a", "iptables").jumps_text()
    assert "KUBE-FIREWALL" not in render(given, "node-a", "iptables", version="1.26").jumps_text()


def test_a_port_that_is_missing_is_noted_not_refused(cluster):
    """kube-proxy does not check what the API server let in."""
    text = "kind: Service\nmetadata: {name: web}\nspec: {clusterIP: 10.96.0.20, ports: [{}]}\n"
    given = read_cluster([TextFile(name="objects.yaml", text=text)])
    rule, _ = rules(given, "KUBE-SERVICES")
    assert "--dport 0 -j REJECT" in rule
    assert "field spec.ports[0].port: there is none" in given.notes[0]
