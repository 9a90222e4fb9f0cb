"""Devices of every kind, and what they stand on."""

from __future__ import annotations

from netemu.link.dummy import Dummy
from netemu.link.vlan import Vlan
from netemu.sim.node import build_node
from netemu.sim.spec import LinkSpec, NamespaceSpec, NodeSpec, VlanSpec


def test_a_vlan_stands_on_the_device_that_it_names() -> None:
    """Even on one with a higher number; without one it is a port, which is said."""
    links = [
        LinkSpec(name="v", ifindex=2, kind="vlan", peer_ifindex=3, vlan=VlanSpec(vid=4)),
        LinkSpec(name="eth0", ifindex=3),
        LinkSpec(name="w", ifindex=4, kind="vlan", peer_ifindex=9, vlan=VlanSpec(vid=5)),
        LinkSpec(name="d", ifindex=5, kind="dummy"),
    ]
    node = build_node(NodeSpec(main=NamespaceSpec(links=links)))
    devices = node.main.net.devices
    assert isinstance(devices["v"], Vlan)
    assert isinstance(devices["d"], Dummy)
    assert devices["v"].lower is devices["eth0"]
    assert list(node.ports) == ["eth0", "w"]
    assert any(note.startswith("w (vlan) stands as a port") for note in node.notes)
