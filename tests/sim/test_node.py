"""Nodes built from specs: devices, pairs, bridges, what stands in for what."""

from __future__ import annotations

import pytest

from netemu.errors import UsageError
from netemu.link.bridge import Bridge
from netemu.link.port import Port
from netemu.link.veth import Veth
from netemu.netfilter.hook import Family, Hook
from netemu.sim.node import build_node
from netemu.sim.spec import LinkSpec, NamespaceSpec, NodeSpec, TextFile

FULL_SYSCTLS = {"net.ipv4.ip_default_ttl": "64", "net.core.somaxconn": "4096"}


def mac(number: int) -> bytes:
    return b"\x02\x00\x00\x00\x00" + bytes([number])


def link(name: str, ifindex: int, **more) -> LinkSpec:
    return LinkSpec(name=name, ifindex=ifindex, mac=mac(ifindex), **more)


def test_a_veth_whose_peer_is_in_the_snapshot_is_wired_and_any_other_is_a_port():
    main = NamespaceSpec(
        links=[
            link("veth1", 5, kind="veth", peer_ifindex=2, peer_netnsid=0),
            link("veth2", 6, kind="veth", peer_ifindex=9, peer_netnsid=7),
        ],
        netns_ids={0: "pod"},
    )
    pod = NamespaceSpec(
        name="pod",
        links=[link("eth0", 2, kind="veth", peer_ifindex=5, peer_netnsid=0)],
        netns_ids={0: ""},
    )
    node = build_node(NodeSpec(main=main, others=[pod]))
    inner = node.find_device("veth1")[1]
    assert isinstance(inner, Veth)
    assert inner.peer is node.find_device("pod/eth0")[1]
    assert list(node.ports) == ["veth2"]
    assert isinstance(node.ports["veth2"], Port)


def test_ports_join_their_bridge_in_the_order_of_their_numbers():
    """The newest port stands first, so floods go there first (br_add_if)."""
    main = NamespaceSpec(
        links=[
            link("br0", 2, kind="bridge"),
            link("a", 3, master="br0", port={"no": 2}),
            link("b", 4, master="br0", port={"no": 1}),
        ]
    )
    bridge = build_node(NodeSpec(main=main)).main.net.devices["br0"]
    assert isinstance(bridge, Bridge)
    assert [port.device.name for port in bridge.ports] == ["a", "b"]


@pytest.mark.parametrize(
    ("sysctls", "hooked"),
    [
        ({}, True),
        (FULL_SYSCTLS, False),
        (FULL_SYSCTLS | {"net.bridge.bridge-nf-call-iptables": "0"}, True),
    ],
)
def test_br_netfilter_is_there_unless_a_whole_sysctl_listing_lacks_it(sysctls, hooked):
    spec = NamespaceSpec(links=[link("br0", 2, kind="bridge")], sysctls=sysctls)
    node = build_node(NodeSpec(main=spec))
    functions = node.main.net.hooks.functions(Family.BRIDGE, Hook.PREROUTING)
    assert bool(functions) is hooked
    assert any("br_netfilter" in note for note in node.notes) is not hooked


def test_unknown_devices_and_kernels_are_named():
    node = build_node(NodeSpec(main=NamespaceSpec(links=[link("eth0", 2)])))
    with pytest.raises(UsageError, match="no device 'eth9'; it has eth0, lo"):
        node.find_device("eth9")
    with pytest.raises(UsageError, match="no namespace 'pod'; it has none"):
        node.find_device("pod/eth0")
    with pytest.raises(UsageError, match=r"no kernel profile '2\.4'"):
        build_node(NodeSpec(main=NamespaceSpec()), kernel="2.4")


def test_a_rule_counts_as_hit_when_its_counter_moved():
    text = "*filter\n[7:700] -A INPUT -j ACCEPT\nCOMMIT\n"
    spec = NamespaceSpec(links=[], rules4=TextFile(name="r", text=text))
    space = build_node(NodeSpec(main=spec)).main
    assert space.ruleset is not None
    rule = space.ruleset.tables[0].chains["INPUT"].rules[0]
    assert space.hits(rule) == 0
    rule.packets += 1
    assert space.hits(rule) == 1
