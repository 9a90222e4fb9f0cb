"""The class of all packets that share one packet's fate, from the events of its trace.

Kernel: none; Open vSwitch's megaflow (ofproto/trace) is the same idea: what no step looked at is
free.

Theory of operation: each rule that the packet met is asked for the set of packets that it takes,
read as the packet stood there. A rule that matched leaves its set, one that did not leaves the
complement; the routes taken leave the addresses that they stand for. A field that NAT replaced is a
constant from then on: it asks nothing more of the packet that entered. A field that changed in
another way (TTL, TOS, the device of a bridge) and is read after that is pinned to what the packet
had. Among what is left, the class is the largest product of field values around the packet; where a
field would need many pieces, it is the block of addresses or ports around the packet's own.

What no packet tells is given: the state of its connection, whether a `limit` held, what was drawn.
Left out, unless the packet is one, are packets that the stack itself refuses or treats otherwise:
martian addresses, the node's own and broadcast ones, a TTL that ends here, fragments, packets over
an MTU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from msgspec import Struct

from netemu import events
from netemu.analysis.bdd import ALL, EMPTY
from netemu.analysis.packet import fields_of, point
from netemu.analysis.program import rule_packets
from netemu.analysis.reader import Reader
from netemu.analysis.space import CLEAR, SET, Run, Space
from netemu.analysis.terms import Axis, Term, block_around, largest, product, simplest
from netemu.analysis.wording import SHOWN, axes, axis_of, cube_of, given_texts, term_text
from netemu.events import Event, Stamp
from netemu.ip.fib import Fib, FibResult, Flowi4, RouteType, fib_lookup
from netemu.netfilter.hook import Family
from netemu.netfilter.ipset.core import IpSets
from netemu.netfilter.xtables.model import Rule
from netemu.netfilter.xtables.space import CtState, Field
from netemu.sim.node import Node
from netemu.sim.probe import Entry
from netemu.wire.address import format_address, parse_address, parse_prefix
from netemu.wire.ethernet import ethertype_of

ADDRESSES = (Field.DESTINATION, Field.SOURCE)
TUPLE = (*ADDRESSES, Field.DESTINATION_PORT, Field.SOURCE_PORT, Field.PROTOCOL)
MARKS = (Field.MARK, Field.CONNMARK)
BITWISE = (*MARKS, Field.TCP_FLAGS, Field.TOS)

_IMPROPER = ((0, 8), (127 << 24, 8), (224 << 24, 3))
"""No unicast addresses between hosts (martians of ip_route_input_slow), as (value, length)."""

_NETFILTER_DROP = "NETFILTER_DROP"

_SIDES = {
    "snat": (Field.SOURCE, Field.SOURCE_PORT),
    "un-dnat": (Field.SOURCE, Field.SOURCE_PORT),
    "dnat": (Field.DESTINATION, Field.DESTINATION_PORT),
    "un-snat": (Field.DESTINATION, Field.DESTINATION_PORT),
}
"""What of a packet each kind of NAT rewrites."""

_ETH_HLEN = 14
_ETH_P_IP = 0x0800


class FateClass(Struct, frozen=True, eq=False):
    """Packets that share a fate."""

    space: Space
    term: Term

    @property
    def text(self) -> str:
        """The class in words."""
        known = given_texts(self.space, self.term)
        given = f", given that {', '.join(known)}" if known else ""
        return term_text(self.space, self.term) + given


def fate_class(
    node: Node, entry: Entry, packet_id: int, told: Iterable[tuple[Stamp, Event]]
) -> FateClass | None:
    """Return the class of a packet; None for what is no plain IPv4 packet.

    `node` is as it was when the packet came to its end, `told` what was told of it and of the
    packets that it caused.
    """
    header = entry.packet
    if entry.device:
        if len(entry.frame) < _ETH_HLEN or ethertype_of(entry.frame) != _ETH_P_IP:
            return None
        header = entry.frame[_ETH_HLEN:]
    if len(header) < 20 or header[0] >> 4 != 4:
        return None
    watch = _Watch(node, entry, header)
    for stamp, event in told:
        if stamp.packet_id == packet_id:
            watch.take(stamp, event)
    term = watch.term() if watch.entered is not None else None
    return FateClass(watch.space, term) if term is not None else None


class _Watch:
    """Follows one packet, and keeps what of it mattered."""

    def __init__(self, node: Node, entry: Entry, header: bytes) -> None:
        self.node = node
        self.device = entry.device.rpartition("/")[2]
        names = dict.fromkeys(name.rpartition("/")[2] for name in node.device_names())
        self.space = Space(Family.IPV4, names)
        self.original = fields_of(header)
        self.original[Field.MARK] = entry.mark
        self.original[Field.IN_DEVICE] = self.space.index.get(self.device, 0)
        self.runs: dict[Field, Run] = {}
        """Fields that are not read as the packet entered."""
        self.nat: set[Field] = set()
        self.pinned = {Field.IN_DEVICE}
        self.within = ALL
        self.entered: str | None = None
        """Namespace where the packet entered."""
        self.visits = 0
        self.state: CtState | None = None

    def take(self, stamp: Stamp, event: Event) -> None:
        """Take one event of the packet."""
        if self.entered is None:
            self.entered = stamp.node
        take = _TAKES.get(type(event))
        if take is not None:
            take(self, stamp, event)

    def hook(self, stamp: Stamp, event: events.HookEntered) -> None:
        """Read the packet anew: something may have changed outside the hooks."""
        for field, value in fields_of(event.packet).items():
            if field not in self.nat:
                self._see(field, value)
        own = event.in_device == self.device and stamp.node == self.entered
        given = self.original[Field.IN_DEVICE]
        self._see(Field.IN_DEVICE, given if own else self.space.index.get(event.in_device, 0))
        self._constant(Field.OUT_DEVICE, self.space.index.get(event.out_device, 0))

    def lookup(self, stamp: Stamp, event: events.ConntrackLookup) -> None:
        """Take the state of the connection as given."""
        state = CtState[event.state]
        if self.state is None and state != CtState.UNTRACKED:
            self.original[Field.CT_STATE] = state
            self.pinned.add(Field.CT_STATE)
        else:
            self._constant(Field.CT_STATE, state)
        self.state = state if self.state is None else self.state
        self._constant(Field.CT_REPLY, int(event.direction == "REPLY"))
        seen = bool(event.connection) and "[UNREPLIED]" not in event.connection
        self._constant(Field.CT_SEEN_REPLY, int(seen))
        self._constant(Field.CT_ASSURED, int("[ASSURED]" in event.connection))

    def rewritten(self, stamp: Stamp, event: events.HeaderRewritten) -> None:
        """Read what NAT changed as constants."""
        sides = _SIDES.get(event.what)
        if sides is None:
            return
        ends = zip(_end(event.before), _end(event.after), strict=True)
        for field, (before, after) in zip(sides, ends, strict=True):
            if after is not None and before != after:
                self._constant(field, after)
                self.nat.add(field)
        if self.state != CtState.NEW:
            # The binding is that of the connection.
            self.pinned.update(TUPLE)

    def marked(self, stamp: Stamp, event: events.MarkChanged) -> None:
        """Read the bits that changed inverted, so that asking for them pins them."""
        field = Field.MARK if event.what == "mark" else Field.CONNMARK
        changed = event.before ^ event.after
        run = self.runs.get(field, self.space.base[field])
        self.runs[field] = tuple(
            literal ^ (changed >> len(run) - 1 - place & 1) for place, literal in enumerate(run)
        )

    def rule(self, stamp: Stamp, event: events.RuleVisited) -> None:
        """Keep the packets that fare alike at a rule."""
        rule = self._rule(stamp.node, event)
        if rule is None:
            return
        self.visits += 1
        net = self.node.namespaces[stamp.node].net
        self.space.sets = net.generic(IpSets)
        self.space.locals = _local_addresses(net.generic(Fib))
        place = f"{event.table}/{event.chain}"
        reader = Reader(self.space, self.space.view(self.runs), place, self.visits)
        taken = rule_packets(reader, rule)
        self._keep(taken if event.matched else taken ^ 1)
        self.pinned.update(
            field
            for field in self.runs
            if reader.asked >> field & 1 and field in self.original
            if field not in self.nat and field not in MARKS
        )

    def route(self, stamp: Stamp, event: events.RouteChosen) -> None:
        """Keep the addresses that go the same way."""
        fib = self.node.namespaces[stamp.node].net.generic(Fib)
        if fib.has_custom_rules:
            self.pinned.update({*ADDRESSES, Field.TOS, Field.MARK})
        to = int.from_bytes(parse_address(event.destination), "big")
        if Field.DESTINATION in self.runs or to != self.original[Field.DESTINATION]:
            return  # for what NAT made of it, or for an answer
        if not event.prefix:
            self.pinned.add(Field.DESTINATION)
            return
        self._keep(_cell(self.space, fib, Field.DESTINATION, event.prefix))

    def delivered(self, stamp: Stamp, event: events.PacketDelivered) -> None:
        """Keep what finds the same socket."""
        self.pinned.add(Field.PROTOCOL)
        if Field.DESTINATION_PORT not in self.runs:
            self.pinned.add(Field.DESTINATION_PORT)

    def dropped(self, stamp: Stamp, event: events.PacketDropped) -> None:
        """Keep all of a packet that something else than a rule dropped."""
        if event.reason == "NO_SOCKET":
            self.pinned.update({Field.PROTOCOL, Field.DESTINATION, Field.DESTINATION_PORT})
        elif event.reason != _NETFILTER_DROP:
            self.pinned.update(field for field in self.original if field != Field.LENGTH)

    def balanced(self, stamp: Stamp, event: Event) -> None:
        """Keep what IPVS balances alike: it looks at both ends."""
        self.pinned.update(TUPLE)

    def term(self) -> dict[Axis, int] | None:
        """Return the largest class around the packet that can be said in few words.

        None where the packet went another way than its rules say: what changed it was not told.
        """
        space = self.space
        start = point(space, self.original)
        proper = self._proper()
        within = space.diagram.both(self.within, product(space.diagram, proper))
        left = space.diagram.both(within, product(space.diagram, start))
        if left == EMPTY:
            return None
        start |= self._given(left)
        pinned = {axis_of(space, field) for field in self.pinned}
        fields = [axis for axis in axes(space) if axis not in pinned]
        order = sorted(fields, key=lambda axis: axis.name != "")
        term = largest(space.diagram, within, start, order)
        for axis in pinned:
            term[axis] = start[axis]
        return self._readable(term, proper)

    # -- steps -------------------------------------------------------------------------------

    def _keep(self, packets: int) -> None:
        self.within = self.space.diagram.both(self.within, packets)

    def _see(self, field: Field, value: int) -> None:
        """Read a field as it is now."""
        if value == self.original.get(field):
            self.runs.pop(field, None)
        else:
            self._constant(field, value)

    def _constant(self, field: Field, value: int) -> None:
        width = len(self.space.base[field])
        self.runs[field] = tuple(
            SET if value >> (width - 1 - place) & 1 else CLEAR for place in range(width)
        )

    def _rule(self, namespace: str, event: events.RuleVisited) -> Rule | None:
        ruleset = self.node.namespaces[namespace].ruleset
        for table in ruleset.tables if ruleset is not None else ():
            if table.name == event.table and event.chain in table.chains:
                rules = table.chains[event.chain].rules
                return rules[event.rule - 1] if event.rule <= len(rules) else None
        return None

    def _proper(self) -> dict[Axis, int]:
        """Return the values that the class may have, as far as the packet has such ones itself."""
        space, diagram = self.space, self.space.diagram
        assert self.entered is not None
        fib = self.node.namespaces[self.entered].net.generic(Fib)
        improper = {
            Field.DESTINATION: [*_IMPROPER, *_own_blocks(fib)],
            Field.SOURCE: [*_IMPROPER, *_own_blocks(fib)] if self.device else [],
        }
        found: dict[Axis, int] = {}
        for field, blocks in improper.items():
            good = ALL
            for value, length in blocks:
                good = diagram.without(good, _block(space, field, value, length))
            if field == Field.SOURCE and self.device and self._validates(fib):
                good = diagram.both(good, self._source_cell(fib))
            axis = axis_of(space, field)
            if diagram.meet(good, axis.value(diagram, self.original[field])):
                found[axis] = good
            else:
                self.pinned.add(field)
        whole = axis_of(space, Field.FRAGMENT)
        found[whole] = whole.value(diagram, self.original[Field.FRAGMENT])
        return found

    def _validates(self, fib: Fib) -> bool:
        """Return whether the way back to the source matters (rp_filter)."""
        assert self.entered is not None
        sysctl = self.node.namespaces[self.entered].net.sysctl
        return fib.has_custom_rules or bool(sysctl.conf_max(self.device, "rp_filter"))

    def _source_cell(self, fib: Fib) -> int:
        """Return the addresses that are behind the same route as the source."""
        assert self.entered is not None
        net = self.node.namespaces[self.entered].net
        found = fib_lookup(net, Flowi4(daddr=self.original[Field.SOURCE].to_bytes(4, "big")))
        if not isinstance(found, FibResult):
            self.pinned.add(Field.SOURCE)
            return ALL
        route = found.route
        prefix = f"{format_address(route.prefix)}/{route.prefix_len}"
        return _cell(self.space, fib, Field.SOURCE, prefix)

    def _given(self, left: int) -> dict[Axis, int]:
        """Return what no packet tells, as it was for this one."""
        bits = self.space.diagram.pick(left)
        given = {}
        for variable in self.space.unknowables:
            axis = Axis("", variable, 1)
            given[axis] = axis.value(self.space.diagram, bits.get(variable, 0))
        return given

    def _readable(self, term: dict[Axis, int], proper: dict[Axis, int]) -> dict[Axis, int]:
        """Say each field in few pieces, or else as the block around the packet's value."""
        diagram = self.space.diagram
        shown: dict[Axis, int] = {}
        for axis, values in term.items():
            spare = proper.get(axis, ALL) ^ 1
            if not axis.name:
                shown[axis] = values
                continue
            if diagram.either(values, spare) == ALL:
                continue
            own = self.original.get(Field[axis.name], 0)
            if Field[axis.name] in BITWISE:
                cubes = (cube_of(self.space, axis, one) for one in (values, values ^ 1))
                shown[axis] = values if any(cubes) else axis.value(diagram, own)
                continue
            few = simplest(diagram, values, spare, axis, SHOWN)
            shown[axis] = block_around(diagram, values, axis, own) if few is None else few
        return shown


_TAKES: dict[type[Event], Callable[[_Watch, Stamp, Any], None]] = {
    events.HookEntered: _Watch.hook,
    events.ConntrackLookup: _Watch.lookup,
    events.HeaderRewritten: _Watch.rewritten,
    events.MarkChanged: _Watch.marked,
    events.RuleVisited: _Watch.rule,
    events.RouteChosen: _Watch.route,
    events.IpvsServiceFound: _Watch.balanced,
    events.IpvsConnectionFound: _Watch.balanced,
    events.PacketDelivered: _Watch.delivered,
    events.PacketDropped: _Watch.dropped,
}


def _end(text: str) -> tuple[int, int | None]:
    """Read ADDRESS, ADDRESS:PORT or ADDRESS id=N."""
    address, _, identifier = text.partition(" id=")
    host, _, port = address.partition(":")
    number = port or identifier
    return int.from_bytes(parse_address(host), "big"), int(number) if number else None


def _local_addresses(fib: Fib) -> list[tuple[bytes, int]]:
    loopback = (bytes([127, 0, 0, 0]), 8)
    return [loopback, *((address, 32) for address in fib.addresses.by_local)]


def _own_blocks(fib: Fib) -> list[tuple[int, int]]:
    """Return what routes lead to the node itself or to everybody, as (value, length)."""
    return [
        (int.from_bytes(route.prefix, "big"), route.prefix_len)
        for table in fib.tables.values()
        for route in table.routes()
        if route.kind in {RouteType.LOCAL, RouteType.BROADCAST}
    ]


def _block(space: Space, field: Field, value: int, length: int) -> int:
    mask = ((1 << length) - 1) << (32 - length)
    return space.equal(space.base[field], value & mask, mask)


def _cell(space: Space, fib: Fib, field: Field, prefix: str) -> int:
    """Return the addresses for which a route is the longest prefix."""
    network, length = parse_prefix(prefix)
    value = int.from_bytes(network, "big")
    cell = _block(space, field, value, length)
    for table in fib.tables.values():
        for route in table.routes():
            if route.prefix_len > length:
                inner = _block(space, field, int.from_bytes(route.prefix, "big"), route.prefix_len)
                cell = space.diagram.without(cell, inner)
    return cell
