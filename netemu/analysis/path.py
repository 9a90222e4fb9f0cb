"""The way of packet sets through the hooks of a node, as packets go.

Kernel: net/ipv4/ip_input.c, ip_forward.c, ip_output.c, net/netfilter/nf_nat_core.c
(nf_nat_inet_fn), nf_conntrack_core.c (nf_conntrack_in).

Theory of operation: two crowds set out. What comes in by a device passes PREROUTING, then INPUT
where its destination is the node's, else FORWARD and POSTROUTING; what the node sends itself passes
OUTPUT and POSTROUTING, and comes in again where it left by `lo`. Which device a packet leaves by,
and on a mere rule file also which addresses are the node's, is as open as the rest of the packet:
the rules might stand on any node. Before conntrack has seen a packet it has no state (raw reads
INVALID). The nat table is asked for the first packets of connections alone; the later ones in the
same direction go where the rules would send such a first one.

Differs from Linux: a connection has one more state than packets tell; what changed its binding
since its first packet (other rules, other marks) is not followed. Answers of connections with SNAT
have any destination.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from msgspec import Struct, field

from netemu.analysis.bdd import EMPTY
from netemu.analysis.domain import CONNECTION, IPPROTO_ICMPV6, openings, possible
from netemu.analysis.program import Program
from netemu.analysis.reader import Reader
from netemu.analysis.rewrite import Rewriter, tidy, variables
from netemu.analysis.space import CLEAR, LOCALITY, SET, TWIN, Run, Space, View
from netemu.analysis.walk import Sent, Summary, Walker, accepted, flood
from netemu.netfilter.hook import Family, Hook, Verdict
from netemu.netfilter.xtables.space import CtState, Field
from netemu.wire.ipv4 import IPPROTO_ICMP

TABLE_ORDER = {
    Hook.PREROUTING: ("raw", "mangle", "nat"),
    Hook.INPUT: ("mangle", "filter", "security", "nat"),
    Hook.FORWARD: ("mangle", "filter", "security"),
    Hook.OUTPUT: ("raw", "mangle", "nat", "filter", "security"),
    Hook.POSTROUTING: ("mangle", "nat"),
}
"""Tables by priority."""


class Crowd(Struct):
    """Packets on their way, by how they are read, and what they have drawn."""

    parts: dict[View, int] = field(default_factory=dict)
    drawn: frozenset[int] = frozenset()


class Arrival(NamedTuple):
    """Packets of one view that come to a built-in chain."""

    view: View
    packets: int
    summary: Summary
    came: dict[Summary, dict[View, int]]
    """What of them comes to each chain, as far as it matters to the table; callers first."""


class Station(Struct, eq=False):
    """One table at one hook, on one way."""

    way: str
    """in, local, or loop for what the node sent to itself."""
    hook: Hook
    table: str
    arrivals: list[Arrival]


class Path:
    """Sends both crowds through all tables."""

    def __init__(self, space: Space, programs: dict[str, Program]) -> None:
        """Do it at once; `stations` is the result."""
        self.space = space
        self._diagram = space.diagram
        self._programs = programs
        self._heeded = 0
        for program in programs.values():
            self._heeded |= program.heeded
        self._walkers = {name: Walker(program) for name, program in programs.items()}
        self.tracked = bool(self._heeded & _bits(CONNECTION)) or "nat" in programs
        """Whether there are connections."""
        self.coarse = _nat_rules(programs) > MOST_NAT_RULES
        """What a large nat table changes is told roughly: translated packets have any value there.
        Sets behind it are larger than they need be, never smaller."""
        self._rough: dict[int, Walker] = {}
        self._sent: Sent = {}
        self.stations: list[Station] = []
        self.delivered: list[tuple[str, Crowd]] = []
        """What the tables let through, by way: in, forward, local, loop."""
        packets = possible(space, raw="raw" in programs, tracked=self.tracked)
        self._start = self._diagram.keep(packets, self._of_interest())
        """That conntrack takes some packets for no opening is left out here: rules against such
        packets are not held to be needless for it."""
        self.domain = self._diagram.both(packets, openings(space))
        """All packets that there can be."""
        self._incoming()
        self._outgoing()

    def _of_interest(self) -> set[int]:
        """Return the variables of the fields that a rule or the way depends on."""
        return {
            literal >> 1
            for name, run in self.space.base.items()
            if self._heeded >> name & 1 or name in _ALWAYS
            for literal in run
        }

    def _incoming(self) -> None:
        space = self.space
        loopback = self._device(Field.IN_DEVICE, ("", "lo"))
        entered = self._diagram.without(self._start, loopback)
        crowd = Crowd({self._hidden(space.start, Field.OUT_DEVICE): entered})
        crowd = self._before_connection(crowd)
        crowd = self._run("in", Hook.PREROUTING, "raw", crowd)
        crowd = self._connected(crowd)
        crowd = self._run("in", Hook.PREROUTING, "mangle", crowd)
        crowd = self._nat("in", Hook.PREROUTING, crowd)
        self._input("in", crowd, nat=True)
        self._forward(crowd)

    def _input(self, way: str, crowd: Crowd, *, nat: bool) -> None:
        here = self._split(crowd, self._comes_here)
        for table in ("mangle", "filter", "security"):
            here = self._run(way, Hook.INPUT, table, here)
        if nat:
            here = self._nat(way, Hook.INPUT, here)
        self.delivered.append((way, here))

    def _forward(self, crowd: Crowd) -> None:
        crowd = self._split(crowd, self._goes_on)
        crowd = Crowd(
            {self._shown(view, Field.OUT_DEVICE): packets for view, packets in crowd.parts.items()},
            crowd.drawn,
        )
        nowhere = self._device(Field.OUT_DEVICE, ("", "lo"))
        crowd = self._split(crowd, lambda view: nowhere ^ 1)
        if self._heeded >> Field.TTL & 1:
            crowd = self._aged(crowd)
        for table in TABLE_ORDER[Hook.FORWARD]:
            crowd = self._run("in", Hook.FORWARD, table, crowd)
        self.delivered.append(("forward", self._leave("in", crowd)))

    def _leave(self, way: str, crowd: Crowd) -> Crowd:
        crowd = self._run(way, Hook.POSTROUTING, "mangle", crowd)
        return self._nat(way, Hook.POSTROUTING, crowd)

    def _outgoing(self) -> None:
        space = self.space
        here = self._device(Field.IN_DEVICE, ("",))
        sent = self._diagram.both(self._start, here)
        sent = self._diagram.both(sent, self._routed(space.start))
        crowd = Crowd({self._hidden(space.start, Field.IN_DEVICE): sent})
        crowd = self._before_connection(crowd)
        crowd = self._run("local", Hook.OUTPUT, "raw", crowd)
        crowd = self._connected(crowd)
        crowd = self._run("local", Hook.OUTPUT, "mangle", crowd)
        crowd = self._rerouted(self._nat("local", Hook.OUTPUT, crowd))
        for table in ("filter", "security"):
            crowd = self._run("local", Hook.OUTPUT, table, crowd)
        crowd = self._leave("local", crowd)
        self.delivered.append(("local", crowd))
        self._loop(crowd)

    def _loop(self, crowd: Crowd) -> None:
        """Let what left by lo come in there."""
        crowd = self._split(crowd, lambda view: self._read(view).device(Field.OUT_DEVICE, "lo"))
        lo = self._constant(Field.IN_DEVICE, self.space.index["lo"])
        parts: dict[View, int] = {}
        for view, packets in crowd.parts.items():
            seen = self._hidden(view, Field.OUT_DEVICE)
            seen = self.space.view({**seen.runs, Field.IN_DEVICE: lo})
            parts[seen] = self._diagram.either(parts.get(seen, EMPTY), packets)
        crowd = Crowd(parts, crowd.drawn)
        for table in ("raw", "mangle"):
            crowd = self._run("loop", Hook.PREROUTING, table, crowd)
        self._input("loop", crowd, nat=False)

    def _run(self, way: str, hook: Hook, table: str, crowd: Crowd, *, note: bool = True) -> Crowd:
        """Send a crowd through a table at a hook; return what it accepts."""
        walker = self._walker(table, hook)
        if walker is None or hook.name not in self._programs[table].chains:
            return crowd
        arrivals: list[Arrival] = []
        found: dict[View, int] = {}
        drawn = set(crowd.drawn)
        for view, packets in crowd.parts.items():
            if packets == EMPTY:
                continue
            summary = walker.summary(hook.name, view, crowd.drawn)
            if not summary.chain.rules and summary.chain.policy == Verdict.ACCEPT:
                arrivals.append(Arrival(view, packets, summary, {summary: {view: packets}}))
                found[view] = self._diagram.either(found.get(view, EMPTY), packets)
                continue
            some = self._diagram.keep(packets, self._matters(summary))
            came = flood(self.space, summary, view, some, self._sent)
            arrivals.append(Arrival(view, packets, summary, came))
            drawn |= summary.drawn
            if self.coarse and table == "nat":
                for at, left in self._roughly(view, packets, summary):
                    found[at] = self._diagram.either(found.get(at, EMPTY), left)
                continue
            for after, taken in accepted(self.space, came, view, Verdict.ACCEPT).items():
                left = self._diagram.both(packets, self._diagram.restrict(taken, some))
                if left != EMPTY:
                    at, left = self._settle(after, left) if after is not view else (after, left)
                    found[at] = self._diagram.either(found.get(at, EMPTY), left)
        if note:
            self.stations.append(Station(way, hook, table, arrivals))
        return Crowd(found, frozenset(drawn))

    def _walker(self, table: str, hook: Hook) -> Walker | None:
        """Return what walks a table's chains: of a large nat table one for what the hook's read."""
        if not (self.coarse and table == "nat"):
            return self._walkers.get(table)
        program = self._programs[table]
        chain = program.chains.get(hook.name)
        heeded = chain.asked if chain is not None else 0
        if heeded not in self._rough:
            self._rough[heeded] = Walker(program, heeded)
        return self._rough[heeded]

    def _roughly(self, view: View, packets: int, summary: Summary) -> list[tuple[View, int]]:
        """Return packets as they are, and with anything in what the nat table may change."""
        rewriter = Rewriter(self.space, view, packets, view, self._read)
        for name in Field:
            if summary.chain.written >> name & 1 and name not in LOCALITY.values():
                rewriter.forget(name)
        changed, left = rewriter.done()[-1]
        return [(view, packets), self._settle(changed, left)]

    def _matters(self, root: Summary) -> frozenset[int]:
        """Return the variables that the sets of a built-in chain and those below may test."""
        variables = {
            literal >> 1
            for name in root.chain.fields
            for literal in self.space.run(root.entry, name)
            if literal >= 0
        }
        shared = {one for one, what in self.space.unknowables.items() if what.kind == "fact"}
        return frozenset(variables | root.drawn | shared)

    def _nat(self, way: str, hook: Hook, crowd: Crowd) -> Crowd:
        """Ask the nat table for first packets; send later ones where it would send those."""
        if "nat" not in self._programs:
            return crowd
        first = self._split(crowd, self._is_first)
        later = self._split(crowd, lambda view: self._is_first(view) ^ 1)
        found = self._run(way, hook, "nat", first)
        if hook in {Hook.PREROUTING, Hook.OUTPUT}:
            later = self._translated(way, hook, later)
        for view, packets in later.parts.items():
            found.parts[view] = self._diagram.either(found.parts.get(view, EMPTY), packets)
        return found

    def _translated(self, way: str, hook: Hook, crowd: Crowd) -> Crowd:
        """Give packets of connections with NAT their new destination."""
        if not self._programs["nat"].chains[hook.name].written >> Field.DESTINATION & 1 and not (
            self._programs["nat"].chains[hook.name].written >> Field.DESTINATION_PORT & 1
        ):
            return crowd
        found: dict[View, int] = {}

        def add(view: View, packets: int) -> None:
            if packets != EMPTY:
                found[view] = self._diagram.either(found.get(view, EMPTY), packets)

        for view, packets in crowd.parts.items():
            read = self._read(view)
            known = read.either(
                read.masked(Field.CT_STATE, CtState.ESTABLISHED),
                read.masked(Field.CT_STATE, CtState.RELATED),
            )
            reply = read.masked(Field.CT_REPLY, 1)
            dnat = read.masked(Field.CT_DNAT, 1)
            moved = read.both(
                known,
                read.either(
                    read.both(reply ^ 1, dnat), read.both(reply, read.masked(Field.CT_SNAT, 1))
                ),
            )
            add(view, self._diagram.without(packets, moved))
            back = read.both(packets, moved, reply)
            if back != EMPTY:
                add(*self._anywhere(view, back))
            forth = read.both(packets, moved, reply ^ 1)
            first = self.space.view(
                {**view.runs, Field.CT_STATE: self._constant(Field.CT_STATE, CtState.NEW)}
            )
            if self.coarse:
                add(*self._anywhere(view, forth))
                continue
            gone = self._run(way, hook, "nat", Crowd({first: forth}, crowd.drawn), note=False)
            for after, left in gone.parts.items():
                runs = dict(view.runs)
                for name in _MOVED:
                    if name in after.runs:
                        runs[name] = after.runs[name]
                if all(runs.get(name) == view.runs.get(name) for name in _MOVED):
                    continue  # nothing would be translated, so it cannot have been
                add(*self._settle(self.space.view(runs), left))
        return Crowd(found, crowd.drawn)

    def _anywhere(self, view: View, packets: int) -> tuple[View, int]:
        rewriter = Rewriter(self.space, view, packets, view, self._read)
        rewriter.forget(Field.DESTINATION)
        rewriter.forget(Field.DESTINATION_PORT)
        return self._settle(*rewriter.done()[-1])

    def _rerouted(self, crowd: Crowd) -> Crowd:
        """Let packets with a new destination leave by any device that fits."""
        found: dict[View, int] = {}
        for view, packets in crowd.parts.items():
            after, left = view, packets
            if Field.DESTINATION in view.runs:
                rewriter = Rewriter(self.space, view, packets, view, self._read)
                rewriter.forget(Field.OUT_DEVICE)
                after, left = rewriter.done()[-1]
                left = self._diagram.both(left, self._routed(after))
                after, left = self._settle(after, left)
            found[after] = self._diagram.either(found.get(after, EMPTY), left)
        return Crowd(found, crowd.drawn)

    def _aged(self, crowd: Crowd) -> Crowd:
        """Take one off the time to live; packets without any left go no further."""
        found: dict[View, int] = {}
        for view, packets in crowd.parts.items():
            old = self.space.run(view, Field.TTL)
            left = self._diagram.both(packets, self.space.between(old, 2, 255))
            rewriter = Rewriter(self.space, view, left, view, self._read)
            rewriter.forget(Field.TTL)
            aged, left = rewriter.done()[-1]
            new = self.space.run(aged, Field.TTL)
            step = EMPTY
            for ttl in range(2, 256):
                pair = self._diagram.both(
                    self.space.equal(old, ttl, 0xFF), self.space.equal(new, ttl - 1, 0xFF)
                )
                step = self._diagram.either(step, pair)
            after, left = self._settle(aged, self._diagram.both(left, step))
            found[after] = self._diagram.either(found.get(after, EMPTY), left)
        return Crowd(found, crowd.drawn)

    def _settle(self, view: View, packets: int) -> tuple[View, int]:
        """Forget what packets were between the tables, and number what they are from 1."""
        live = variables(view)
        dead = {one for one in self._diagram.support(packets) if one >= TWIN and one not in live}
        packets = self._diagram.drop(packets, dead)
        return tidy(self.space, view, packets, self.space.start)

    def _split(self, crowd: Crowd, chosen: object) -> Crowd:
        """Return the packets of a crowd that are chosen, given how they are read."""
        assert callable(chosen)
        parts = {
            view: self._diagram.both(packets, chosen(view)) for view, packets in crowd.parts.items()
        }
        return Crowd({view: left for view, left in parts.items() if left != EMPTY}, crowd.drawn)

    def _read(self, view: View) -> Reader:
        return Reader(self.space, view, "", 0)

    def _device(self, name: Field, devices: Iterable[str]) -> int:
        run = self.space.base[name]
        mask = (1 << len(run)) - 1
        return self.space.either(
            self.space.equal(run, self.space.index[device], mask)
            for device in devices
            if device in self.space.index
        )

    def _hidden(self, view: View, name: Field) -> View:
        """Return the view in which there is no such device."""
        return self.space.view({**view.runs, name: self._constant(name, 0)})

    def _shown(self, view: View, name: Field) -> View:
        """Return the view in which the field is read as it entered."""
        runs = dict(view.runs)
        runs.pop(name, None)
        return self.space.view(runs)

    def _constant(self, name: Field, value: int) -> Run:
        width = len(self.space.base[name])
        return tuple(SET if value >> (width - 1 - place) & 1 else CLEAR for place in range(width))

    def _before_connection(self, crowd: Crowd) -> Crowd:
        """Let conntrack know nothing of the packets yet."""
        runs = {name: self._constant(name, 0) for name in CONNECTION}
        runs[Field.CT_STATE] = self._constant(Field.CT_STATE, CtState.INVALID)
        return Crowd(
            {
                self.space.view({**view.runs, **runs}): packets
                for view, packets in crowd.parts.items()
            },
            crowd.drawn,
        )

    def _connected(self, crowd: Crowd) -> Crowd:
        """Let conntrack see all packets but those that raw made UNTRACKED."""
        unseen = self._constant(Field.CT_STATE, CtState.INVALID)
        parts: dict[View, int] = {}
        for view, packets in crowd.parts.items():
            runs = dict(view.runs)
            if runs.get(Field.CT_STATE) == unseen:
                for name in CONNECTION:
                    runs.pop(name, None)
            after = self.space.view(runs)
            parts[after] = self._diagram.either(parts.get(after, EMPTY), packets)
        return Crowd(parts, crowd.drawn)

    def _is_first(self, view: View) -> int:
        """Return the packets that the nat table is asked for."""
        read = self._read(view)
        icmp = IPPROTO_ICMPV6 if self.space.family == Family.IPV6 else IPPROTO_ICMP
        return read.either(
            read.masked(Field.CT_STATE, CtState.NEW),
            read.both(
                read.masked(Field.CT_STATE, CtState.RELATED),
                read.masked(Field.PROTOCOL, icmp) ^ 1,
            ),
        )

    def _multicast(self, read: Reader) -> int:
        if self.space.family == Family.IPV6:
            return read.masked(Field.DESTINATION, 0xFF << 120, 0xFF << 120)
        return read.masked(Field.DESTINATION, 0xE0000000, 0xF0000000)

    def _comes_here(self, view: View) -> int:
        read = self._read(view)
        if self.space.family == Family.IPV6:
            return read.either(read.local(Field.DESTINATION), self._multicast(read))
        return read.either(
            read.local(Field.DESTINATION),
            read.broadcast(Field.DESTINATION),
            self._multicast(read),
        )

    def _goes_on(self, view: View) -> int:
        return self._comes_here(view) ^ 1

    def _routed(self, view: View) -> int:
        """Return the packets whose output device fits their destination."""
        read = self._read(view)
        lo = read.device(Field.OUT_DEVICE, "lo")
        none = read.masked(Field.OUT_DEVICE, 0)
        local = read.local(Field.DESTINATION)
        fits = read.either(read.both(lo, local), read.both(lo ^ 1, local ^ 1))
        return read.both(none ^ 1, fits)


_ALWAYS = {
    Field.IN_DEVICE,
    Field.OUT_DEVICE,
    Field.CT_STATE,
    Field.CT_REPLY,
    Field.CT_DNAT,
    Field.CT_SNAT,
    Field.DESTINATION,
    Field.DESTINATION_LOCAL,
    Field.DESTINATION_BROADCAST,
    Field.PROTOCOL,
}
"""Fields that the way depends on."""

_MOVED = (
    Field.DESTINATION,
    Field.DESTINATION_PORT,
    Field.DESTINATION_LOCAL,
    Field.DESTINATION_BROADCAST,
)


MOST_NAT_RULES = 600
"""So many rules of a nat table that change packets are followed exactly."""


def _nat_rules(programs: dict[str, Program]) -> int:
    program = programs.get("nat")
    if program is None:
        return 0
    return sum(
        ready.written >> Field.DESTINATION & 1
        for chain in program.chains.values()
        for ready in chain.rules
    )


def _bits(fields: Iterable[Field]) -> int:
    found = 0
    for one in fields:
        found |= 1 << one
    return found
