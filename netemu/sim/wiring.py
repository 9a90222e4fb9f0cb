"""How the devices of a node hang together: names, pairs, and ends that lie outside.

Kernel: net/core/rtnetlink.c (IFLA_LINK, IFLA_LINK_NETNSID), drivers/net/veth.c.
"""

from __future__ import annotations

from typing import NamedTuple

from msgspec import Struct

from netemu.sim.spec import LinkSpec, NamespaceSpec, NodeSpec

WITHOUT_WIRE = frozenset({"bridge", "dummy", "loopback"})
"""Kinds of devices that have no other end."""


class Wire(Struct, frozen=True, kw_only=True):
    """A veth pair with both ends inside the node."""

    one: tuple[str, LinkSpec]
    """Namespace and device."""
    other: tuple[str, LinkSpec]


def device_key(namespace: str, device: str) -> str:
    """Return DEV, or NS/DEV for another namespace than the main one."""
    return f"{namespace}/{device}" if namespace else device


def split_device(key: str) -> tuple[str, str]:
    """Return namespace and device of a key.

    >>> split_device("pod-a/eth0"), split_device("eth0")
    (('pod-a', 'eth0'), ('', 'eth0'))
    """
    namespace, _, device = key.rpartition("/")
    return namespace, device


def find_wires(node: NodeSpec) -> list[Wire]:
    """Return the veth pairs whose two ends the node holds, each once."""
    by_index = {
        (space.name, link.ifindex): link for space in node.namespaces() for link in space.links
    }
    wires: list[Wire] = []
    seen: set[tuple[str, int]] = set()
    for space in node.namespaces():
        for link in space.links:
            if link.kind != "veth" or not link.peer_ifindex or (space.name, link.ifindex) in seen:
                continue
            there = _peer_namespace(space, link)
            peer = None if there is None else by_index.get((there, link.peer_ifindex))
            if there is None or peer is None or peer is link or peer.kind != "veth":
                continue
            if peer.peer_ifindex not in {0, link.ifindex} or (there, peer.ifindex) in seen:
                continue
            seen |= {(space.name, link.ifindex), (there, peer.ifindex)}
            wires.append(Wire(one=(space.name, link), other=(there, peer)))
    return wires


End = tuple[str, LinkSpec]
"""Namespace and device."""


def find_lowers(node: NodeSpec) -> list[tuple[End, End]]:
    """Return the devices that stand above another one of the node, each with that one."""
    by_index = {
        (space.name, link.ifindex): link for space in node.namespaces() for link in space.links
    }
    found: list[tuple[End, End]] = []
    for space in node.namespaces():
        for link in space.links:
            there = _peer_namespace(space, link)
            lower = None if there is None else by_index.get((there, link.peer_ifindex))
            if _is_upper(link) and there is not None and lower is not None and lower is not link:
                found.append(((space.name, link), (there, lower)))
    return found


def _is_upper(link: LinkSpec) -> bool:
    return link.vlan is not None or link.macvlan is not None


class VxlanCarrier(NamedTuple):
    """A VXLAN device, and what carries its frames."""

    space: str
    link: LinkSpec
    carrier: str
    """Namespace whose packets carry them: the one where the device was made."""
    lower: str
    """Device that the packets leave by; empty: as the routes say."""


def find_vxlans(node: NodeSpec) -> list[VxlanCarrier]:
    """Return the VXLAN devices whose carriers the node holds."""
    names = {
        (space.name, link.ifindex): link.name for space in node.namespaces() for link in space.links
    }
    found: list[VxlanCarrier] = []
    for space in node.namespaces():
        for link in space.links:
            there = _peer_namespace(space, link)
            if link.vxlan is not None and there is not None:
                lower = names.get((there, link.peer_ifindex), "")
                found.append(VxlanCarrier(space.name, link, there, lower))
    return found


def _peer_namespace(space: NamespaceSpec, link: LinkSpec) -> str | None:
    if link.peer_netnsid is None:
        return space.name
    return space.netns_ids.get(link.peer_netnsid)


def port_keys(node: NodeSpec) -> list[str]:
    """Return the devices whose other ends are outside the node."""
    inside = {
        (name, link.ifindex) for wire in find_wires(node) for name, link in (wire.one, wire.other)
    }
    inside |= {(name, link.ifindex) for (name, link), _ in find_lowers(node)}
    inside |= {(found.space, found.link.ifindex) for found in find_vxlans(node)}
    return [
        device_key(space.name, link.name)
        for space in node.namespaces()
        for link in space.links
        if link.kind not in WITHOUT_WIRE
        and link.name != "lo"
        and (space.name, link.ifindex) not in inside
    ]
