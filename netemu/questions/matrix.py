"""Who may open connections to whom, on which ports: zones against zones.

A zone is the node itself, or what is behind one of its devices: the networks that its routes lead
to there, `anywhere` for a default route. A cell lists protocols and ports with which some host of
the one zone reaches some host of the other.
"""

from __future__ import annotations

from msgspec import Struct

from netemu.analysis.bdd import EMPTY
from netemu.analysis.question import Wish
from netemu.analysis.terms import simplest, spans
from netemu.analysis.wording import axis_of
from netemu.ip.fib import Fib, RouteType
from netemu.netfilter.xtables.names import protocol_name
from netemu.netfilter.xtables.space import CtState, Field
from netemu.questions.ask import Known
from netemu.wire.address import format_address
from netemu.wire.ipv4 import Protocol

NODE = "the node"

_PORTED = (Protocol.TCP, Protocol.UDP, Protocol.SCTP)

_MOST = 12


class Zone(Struct, frozen=True):
    """Hosts behind one device, or the node."""

    name: str
    device: str
    """Empty for the node."""
    hosts: int
    """As a set of destinations."""
    senders: int
    """The same as a set of sources."""


class Cell(Struct, frozen=True):
    """What one zone may do in another."""

    source: str
    destination: str
    services: tuple[str, ...]
    """`any`, or `tcp 22,80`, `icmp`, ...; none at all if nothing gets through."""


def matrix(known: Known, asked: int) -> list[Cell]:
    """Return the cells for packets of a set that open connections."""
    diagram = known.space.diagram
    accepted = diagram.both(diagram.both(known.coming_to(Wish()), known.plain), asked)
    accepted = diagram.both(accepted, known.read.masked(Field.CT_STATE, CtState.NEW))
    zones = zones_of(known)
    cells = []
    for source in zones:
        sent = diagram.both(accepted, _senders(known, source))
        for destination in zones:
            if source.name == destination.name == NODE:
                continue
            packets = diagram.both(sent, destination.hosts)
            cells.append(Cell(source.name, destination.name, services(known, packets)))
    return cells


def _senders(known: Known, zone: Zone) -> int:
    read = known.read
    if not zone.device:
        return read.masked(Field.IN_DEVICE, 0)
    return read.both(read.device(Field.IN_DEVICE, zone.device), zone.senders)


def zones_of(known: Known) -> list[Zone]:
    """Return the node and what its routes lead to, by device."""
    read = known.read
    fib = known.subject.build().main.net.generic(Fib)
    own = {name: read.local(name) for name in (Field.DESTINATION, Field.SOURCE)}
    zones = [Zone(NODE, "", own[Field.DESTINATION], own[Field.SOURCE])]
    taken = dict(own)
    routes = sorted(
        (route for table in fib.tables.values() for route in table.routes()),
        key=lambda route: (-route.prefix_len, route.prefix),
    )
    behind: dict[str, tuple[list[str], int, int]] = {}
    for route in routes:
        if route.kind != RouteType.UNICAST:
            continue
        value = int.from_bytes(route.prefix, "big")
        mask = ((1 << route.prefix_len) - 1) << (32 - route.prefix_len)
        cells = {
            name: known.space.diagram.without(read.masked(name, value, mask), taken[name])
            for name in taken
        }
        taken = {name: read.either(before, cells[name]) for name, before in taken.items()}
        shown = f"{format_address(route.prefix)}/{route.prefix_len}"
        for way in route.nexthops:
            if way.device is None or way.device.loopback:
                continue
            names, hosts, senders = behind.get(way.device.name, ([], EMPTY, EMPTY))
            names.append(shown if route.prefix_len else "anywhere")
            behind[way.device.name] = (
                names,
                read.either(hosts, cells[Field.DESTINATION]),
                read.either(senders, cells[Field.SOURCE]),
            )
    for device, (names, hosts, senders) in behind.items():
        shown = "anywhere" if "anywhere" in names else ",".join(names)
        zones.append(Zone(f"{device} ({shown})", device, hosts, senders))
    return zones


def services(known: Known, packets: int) -> tuple[str, ...]:
    """Return protocols and ports of a set of packets in words."""
    if packets == EMPTY:
        return ()
    space, diagram = known.space, known.space.diagram
    protocol, port = axis_of(space, Field.PROTOCOL), axis_of(space, Field.DESTINATION_PORT)
    seen = diagram.forget(packets, lambda one: one not in protocol and one not in port)
    possible = diagram.both(known.plain, known.read.masked(Field.CT_STATE, CtState.NEW))
    spare = diagram.forget(possible, lambda one: one not in protocol and one not in port) ^ 1
    if diagram.either(seen, spare) == 0:
        return ("any",)
    found: list[str] = []
    rest = seen
    for number in (*_PORTED, Protocol.ICMP):
        here = protocol.value(diagram, number)
        ports = diagram.forget(diagram.both(seen, here), lambda one: one not in port)
        rest = diagram.without(rest, here)
        if ports == EMPTY:
            continue
        gaps = diagram.forget(diagram.both(spare, here), lambda one: one not in port)
        few = simplest(diagram, ports, gaps, port, _MOST)
        found.append(_words(known, number, ports if few is None else few))
    others = spans(diagram, diagram.forget(rest, lambda one: one not in protocol), protocol)
    if others:
        count = sum(high - low + 1 for low, high in others)
        named = ",".join(protocol_name(one) for low, high in others for one in range(low, high + 1))
        found.append(named if count <= _MOST else "other protocols")
    return tuple(found)


def _words(known: Known, number: int, ports: int) -> str:
    """Write `tcp 22,80`, `icmp 8`, or the name alone."""
    name = protocol_name(number)
    axis = axis_of(known.space, Field.DESTINATION_PORT)
    if ports == 0:
        return name
    inside = spans(known.space.diagram, ports, axis, most=200)
    outside = spans(known.space.diagram, ports ^ 1, axis, most=200)
    sign, listed = ("!", outside) if len(outside) < len(inside) else ("", inside)
    if number == Protocol.ICMP:
        kinds = dict.fromkeys(
            kind for low, high in listed for kind in range(low >> 8, (high >> 8) + 1)
        )
        return f"{name} type {sign}{','.join(map(str, kinds))}"
    pieces = [str(low) if low == high else f"{low}-{high}" for low, high in listed]
    more = f",... ({len(pieces)} in all)" if len(pieces) > _MOST else ""
    return f"{name} {sign}{','.join(pieces[:_MOST])}{more}"
