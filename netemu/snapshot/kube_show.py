"""What a scenario can show of a cluster that runs, to set beside what is said of it."""

from __future__ import annotations

from collections.abc import Callable

from netemu.errors import UsageError
from netemu.ip.neighbour import NeighbourTable
from netemu.ip.sockets import Sockets
from netemu.net import Net
from netemu.netfilter.conntrack.table import Conntrack
from netemu.netfilter.ipvs.text import list_services
from netemu.snapshot.kube_lab import KubeLab
from netemu.snapshot.kube_shape import ShowShape
from netemu.wire.address import format_address, parse_address


def show(lab: KubeLab, asked: ShowShape) -> str:
    """Return what was asked for, in words. Raises UsageError for a node that is not there."""
    return _SHOWN[asked.what](lab, asked)


def _revision(lab: KubeLab, asked: ShowShape) -> str:
    del asked
    return f"the store is at resource version {lab.store.revision}"


def _neighbours(lab: KubeLab, asked: ShowShape) -> str:
    """Whoever asks for an address by ARP has an entry for it, at least for a while."""
    address = parse_address(asked.address)
    there = [
        name
        for name, space in lab.lab.node.namespaces.items()
        if any(entry.address == address for entry in space.net.generic(NeighbourTable).entries())
    ]
    who = ", ".join(there) or "nobody"
    return f"{who} has a neighbour entry for {asked.address}"


def _sockets(lab: KubeLab, asked: ShowShape) -> str:
    address = parse_address(asked.address)
    there = [
        name
        for name, space in lab.lab.node.namespaces.items()
        if space.net.generic(Sockets).bound_to(address)
    ]
    who = ", ".join(there) or "nobody"
    return f"{who} has a socket that is bound to {asked.address}"


def _ipvs(lab: KubeLab, asked: ShowShape) -> str:
    return "ipvsadm -Ln on " + f"{asked.node}:\n{list_services(_net(lab, asked))}".rstrip()


def _connections(lab: KubeLab, asked: ShowShape) -> str:
    found = [
        connection
        for connection in _net(lab, asked).generic(Conntrack)
        if not asked.address or format_address(connection.original.dst) == asked.address
    ]
    to = f" to {asked.address}" if asked.address else ""
    count = len(found)
    return f"conntrack on {asked.node} has {count} connection{'s' * (count != 1)}{to}"


def _net(lab: KubeLab, asked: ShowShape) -> Net:
    space = lab.lab.node.namespaces.get(asked.node)
    if space is None:
        raise UsageError(f"show: there is no node {asked.node!r}")
    return space.net


_SHOWN: dict[str, Callable[[KubeLab, ShowShape], str]] = {
    "revision": _revision,
    "neighbours": _neighbours,
    "sockets": _sockets,
    "ipvs": _ipvs,
    "connections": _connections,
}
