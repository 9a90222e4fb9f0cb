"""The devices of a node: each made as its kind, then joined to what it stands on or belongs to.

Two steps, since a device may stand above one with a higher number: first every device is made, in
order of ifindex, which is the order in which addresses are looked through; then pairs are
connected, VLANs and macvlans attached, and ports enslaved.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from netemu.ip.vxlan import Vxlan
from netemu.link.bridge import Bridge
from netemu.link.dummy import Dummy
from netemu.link.loopback import Loopback
from netemu.link.macvlan import Macvlan
from netemu.link.port import Port
from netemu.link.veth import Veth
from netemu.link.vlan import Vlan
from netemu.sim.wiring import device_key, find_lowers, find_vxlans, find_wires, port_keys

if TYPE_CHECKING:
    from netemu.net import Net
    from netemu.sim.spec import LinkSpec, NamespaceSpec, NodeSpec
    from netemu.skb import Device

WITHOUT_OWN_CODE = {
    "vxlan": "frames leave it without their VXLAN header, since it is of a kind not emulated",
    "vlan": "frames leave it without their 802.1Q tag, since the device below is not known",
    "macvlan": "it does not reach the other devices of its parent, which is not known",
    "ipvlan": "it does not reach the other devices of its parent",
    "bond": "it stands for all its slaves",
    "tun": "frames carry an Ethernet header here",
    "wireguard": "frames leave it unencrypted",
    "ipip": "packets leave it without their outer header",
    "gre": "packets leave it without their outer header",
}
"""Device kinds that stand as a plain port, and what that changes."""


class Devices(NamedTuple):
    """What `make_devices` made besides the devices themselves, which know their namespaces."""

    ports: dict[str, Port]
    """Where frames enter and leave, as `DEV` or `NS/DEV`."""
    notes: list[str]


def make_devices(spec: NodeSpec, nets: dict[str, Net]) -> Devices:
    """Make all devices of a node in its namespaces."""
    found = Devices({}, [])
    outside = set(port_keys(spec))
    for space in spec.namespaces():
        net = nets[space.name]
        if "lo" not in net.devices and not any(link.name == "lo" for link in space.links):
            Loopback(net)
        for link in sorted(space.links, key=lambda link: link.ifindex):
            key = device_key(space.name, link.name)
            if key in outside:
                found.ports[key] = _make_port(net, link)
                if link.kind in WITHOUT_OWN_CODE:
                    why = WITHOUT_OWN_CODE[link.kind]
                    found.notes.append(f"{key} ({link.kind}) stands as a port: {why}")
            else:
                _MAKERS["loopback" if link.name == "lo" else link.kind](net, link)
    _connect_pairs(spec, nets)
    _attach_uppers(spec, nets)
    for space in spec.namespaces():
        _enslave(space, nets[space.name])
    return found


def _make_port(net: Net, link: LinkSpec) -> Port:
    port = Port(
        net, name=link.name, ifindex=link.ifindex, mac=link.mac, mtu=link.mtu,
        up=link.up, kind=link.kind, noarp=link.noarp,
    )  # fmt: skip
    port.carrier = link.carrier
    return port


def _make_loopback(net: Net, link: LinkSpec) -> Device:
    return Loopback(net, name=link.name, ifindex=link.ifindex, mtu=link.mtu, up=link.up)


def _make_bridge(net: Net, link: LinkSpec) -> Device:
    return Bridge(
        net, name=link.name, ifindex=link.ifindex, mac=link.mac, mtu=link.mtu,
        up=link.up, options=link.bridge,
    )  # fmt: skip


def _make_veth(net: Net, link: LinkSpec) -> Device:
    return Veth(
        net, name=link.name, ifindex=link.ifindex, mac=link.mac, mtu=link.mtu,
        up=link.up, noarp=link.noarp,
    )  # fmt: skip


def _make_dummy(net: Net, link: LinkSpec) -> Device:
    return Dummy(
        net, name=link.name, ifindex=link.ifindex, mac=link.mac, mtu=link.mtu,
        up=link.up, noarp=link.noarp,
    )  # fmt: skip


def _make_vlan(net: Net, link: LinkSpec) -> Device:
    assert link.vlan is not None
    return Vlan(
        net, link.vlan, name=link.name, ifindex=link.ifindex, mac=link.mac, mtu=link.mtu,
        up=link.up, noarp=link.noarp,
    )  # fmt: skip


def _make_macvlan(net: Net, link: LinkSpec) -> Device:
    assert link.macvlan is not None
    return Macvlan(
        net, link.macvlan, name=link.name, ifindex=link.ifindex, mac=link.mac, mtu=link.mtu,
        up=link.up, noarp=link.noarp,
    )  # fmt: skip


def _make_vxlan(net: Net, link: LinkSpec) -> Device:
    assert link.vxlan is not None
    return Vxlan(
        net, link.vxlan, name=link.name, ifindex=link.ifindex, mac=link.mac, mtu=link.mtu,
        up=link.up, noarp=link.noarp,
    )  # fmt: skip


_MAKERS: dict[str, Callable[[Net, LinkSpec], Device]] = {
    "loopback": _make_loopback,
    "bridge": _make_bridge,
    "veth": _make_veth,
    "dummy": _make_dummy,
    "vlan": _make_vlan,
    "macvlan": _make_macvlan,
    "vxlan": _make_vxlan,
}
"""By kind; whatever is not a port has one."""


def _connect_pairs(spec: NodeSpec, nets: dict[str, Net]) -> None:
    for wire in find_wires(spec):
        ends = [nets[namespace].devices[link.name] for namespace, link in (wire.one, wire.other)]
        one, other = ends
        assert isinstance(one, Veth)
        assert isinstance(other, Veth)
        one.connect(other)


def _attach_uppers(spec: NodeSpec, nets: dict[str, Net]) -> None:
    for upper, lower in find_lowers(spec):
        device = nets[upper[0]].devices[upper[1].name]
        below = nets[lower[0]].devices[lower[1].name]
        if isinstance(device, Vlan):
            device.attach(below)
        elif isinstance(device, Macvlan):
            device.attach(below, nets[lower[0]])
    for space, link, carrier, lower_name in find_vxlans(spec):
        device = nets[space].devices[link.name]
        assert isinstance(device, Vxlan)
        device.attach(nets[carrier], lower_name)


def _enslave(space: NamespaceSpec, net: Net) -> None:
    """Add the ports to their bridges in the order in which they joined, as far as it is known."""
    for link in sorted(space.links, key=lambda link: (link.port.get("no", 0), link.ifindex)):
        if not link.master:
            continue
        bridge = net.devices.get(link.master)
        if isinstance(bridge, Bridge):
            bridge.add_port(net.devices[link.name], link.port)
    for device in net.devices.values():
        if isinstance(device, Vxlan):
            device.fdb.load(entry for entry in space.vxlan_fdb if entry.device == device.name)
    for bridge in net.devices.values():
        if isinstance(bridge, Bridge):
            bridge.load_vlans(space.bridge_vlans)
            bridge.load_mdb(space.mdb)
            bridge.load_fdb([entry for entry in space.fdb if entry.bridge == bridge.name])
