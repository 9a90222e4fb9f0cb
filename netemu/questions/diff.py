"""Two rule sets compared by what they do: classes of packets that fare differently.

Theory of operation: both rule sets are analysed in one space of packets, so that the same match at
the same place is the same variable in both, be it a `limit` or one that is not modelled. Packets
with the same fates before and after form a group; a group is said in few terms, and for each an
example is sent through both engines. What these do not confirm is not claimed as a difference.
Targets that are told (LOG, TTL, TCPMSS) are compared by their words: where two of them would write
the same TTL into a packet, it counts as different all the same.
Nothing is left of the comparison where every end has the same set of packets: then the rule sets
are equal for all that is modelled.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice

from msgspec import Struct

from netemu.analysis.bdd import EMPTY
from netemu.analysis.behaviour import End, behaviour
from netemu.analysis.difference import Comparison, Group, cases
from netemu.analysis.example import Example, examples
from netemu.analysis.example6 import examples6
from netemu.analysis.reach import Reach
from netemu.analysis.reader import Reader
from netemu.analysis.space import Space
from netemu.analysis.terms import Axis, Term, cover, product
from netemu.analysis.wording import axes, axis_of, term_text
from netemu.netfilter.xtables.space import CtState, Field
from netemu.questions.fates import Answer, ask_engine
from netemu.questions.plain import idle_devices, martians, outside_of, plain_packets, readable
from netemu.questions.reasoned import reasoned
from netemu.questions.subject import Subject, on_one_node, routes_of, shared_space

TERMS = 50
"""A group that needs more terms than these is said in part."""

DETAILS = (
    Field.CT_REPLY,
    Field.CT_DNAT,
    Field.CT_SNAT,
    Field.CT_SEEN_REPLY,
    Field.CT_ASSURED,
    Field.CONNMARK,
    Field.TCP_FLAGS,
)
"""What classes of later packets of connections do not speak of."""

WAYS = (Field.IN_DEVICE, Field.OUT_DEVICE, Field.DESTINATION_LOCAL, Field.SOURCE_LOCAL)
"""What the node's own packets differ in from those of others."""

GROUPS = 200
"""So many pairs of fates are said."""

LATER = (CtState.ESTABLISHED, CtState.INVALID, CtState.UNTRACKED)
"""States of packets that open no connection."""

TRIES = 8
"""So many examples of a term are sent before it is given up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A class of packets that fare differently."""

    packets: str
    """The class in words."""
    given: tuple[str, ...]
    """What must hold that no packet tells."""
    example: Example
    old: Answer
    new: Answer
    lines: tuple[str, ...] = ()
    """Changed lines that are responsible, as `-LINE TEXT` and `+LINE TEXT`."""
    space: Space = field(repr=False)
    term: Term = field(repr=False)
    """The class itself."""


class DiffResult(Struct, kw_only=True):
    """What a comparison found."""

    differences: list[Difference]
    unknown: list[str]
    """What could not be decided, a sentence each."""

    @property
    def equal(self) -> bool | None:
        """Whether the rule sets do the same; None where that could not be decided."""
        if self.differences:
            return False
        return None if self.unknown else True


def diff(old: Subject, new: Subject) -> DiffResult:
    """Compare the rules of two nodes; rules without a node are put onto the other's."""
    old, new = on_one_node(old, new)
    result = _Diff(old, new).run()
    one, other = old.spec.main, new.spec.main
    nodes = ((one.addresses, one.routes), (other.addresses, other.routes))
    if not old.spec.assumed and nodes[0] != nodes[1]:
        result.unknown.append("addresses or routes differ; rules were compared at those of OLD")
    return result


class _Diff:
    """One comparison."""

    def __init__(self, old: Subject, new: Subject) -> None:
        self.old = old
        self.new = new
        self.open = old.spec.assumed and new.spec.assumed
        self.space: Space = shared_space(old, new, open_node=self.open)
        self.reaches = (Reach(old.ruleset, self.space), Reach(new.ruleset, self.space))
        self.sides: list[dict[End, int]] = []
        self.result = DiffResult(differences=[], unknown=[])
        self.unsent: list[str] = []
        """Classes of which no example could be sent: the node would have to be another one."""
        diagram = self.space.diagram
        domains = [reach.path.domain for reach in self.reaches]
        self.domain = diagram.either(*domains)
        read = Reader(self.space, self.space.start, "", 0)
        self.read = read
        self.odd = diagram.both(self.domain, read.outside(martians(read)))
        self.plain = diagram.both(self.domain, plain_packets(read))
        self.new_ones = read.masked(Field.CT_STATE, CtState.NEW)
        self.related = read.masked(Field.CT_STATE, CtState.RELATED)
        self.states = [read.masked(Field.CT_STATE, state) for state in LATER]
        self.idle = idle_devices(read)
        self.ways = [axis_of(self.space, name) for name in WAYS]
        self.details = [axis_of(self.space, name) for name in DETAILS]

    def run(self) -> DiffResult:
        """Find the groups, and say each in terms."""
        sides = self.sides = [
            behaviour(reach, None if self.open else routes_of(subject, reach), effects=True)
            for subject, reach in zip((self.old, self.new), self.reaches, strict=True)
        ]
        groups = Comparison(self.space, *sides).groups()
        if len(groups) > GROUPS:
            self.result.unknown.append(f"of {len(groups)} pairs of fates {GROUPS} are said")
        said = EMPTY
        for local in (False, True):
            for later in (False, True):
                found = [self._say(group, said, local, later) for group in groups[:GROUPS]]
                said = self.space.either([said, *found])
            said = self.space.diagram.forget(said, self._is_way)
        self.result.differences.sort(key=_order)
        unsent = () if self.result.differences else self.unsent
        self.result.unknown = list(dict.fromkeys([*self.result.unknown, *unsent]))
        return self.result

    def _say(self, group: Group, said: int, local: bool, later: bool) -> int:  # noqa: FBT001
        """Say one kind of packets of a group in terms, but what was said before; return those.

        Kinds are first packets of connections and later ones, from outside and the node's own.
        Broadcast and multicast packets are spoken of where no others fare differently.
        """
        diagram, both = self.space.diagram, self.space.diagram.both
        own = self.read.masked(Field.IN_DEVICE, 0)
        kind = both(own if local else own ^ 1, self.new_ones ^ later)
        domain = self.plain if diagram.meet(group.packets, self.plain) else self.odd
        wanted = both(group.packets, domain)
        domain = both(domain, kind)
        packets = both(wanted, kind)
        if later:
            if wanted != both(wanted, self.related):
                packets = diagram.without(packets, self.related)
            packets = diagram.forget(packets, self._is_detail)
        spare = self.space.either([domain ^ 1, said, self.related if later else EMPTY])
        found = EMPTY
        first = self.states if later else ()
        for term in self._terms(diagram.without(packets, said), spare, first):
            if self._take(group, term, packets):
                found = diagram.either(found, product(diagram, term))
        return found

    def _is_way(self, variable: int) -> bool:
        """Return whether a variable says how a packet comes and goes."""
        return any(variable in axis for axis in self.ways)

    def _is_detail(self, variable: int) -> bool:
        """Return whether a variable is a detail of connections that have been for a while."""
        return any(variable in axis for axis in self.details)

    def _terms(self, wanted: int, spare: int, first: Sequence[int]) -> Iterator[dict[Axis, int]]:
        spare = self.space.diagram.either(spare, self.idle)
        wanted = self.space.diagram.without(wanted, self.idle)
        terms = cover(self.space.diagram, wanted, axes(self.space), spare=spare, first=first)
        yield from islice(terms, TERMS)
        if next(terms, None) is not None:
            self.result.unknown.append(f"more than {TERMS} classes fare alike; these are some")

    def _take(self, group: Group, term: dict[Axis, int], wanted: int) -> bool:
        """Confirm a term by an example."""
        diagram = self.space.diagram
        inside = diagram.both(product(diagram, term), wanted)
        text = term_text(self.space, readable(self.space, term, inside))
        state = axis_of(self.space, Field.CT_STATE)
        states = diagram.forget(inside, partial(outside_of, state))
        own_ones = self.read.masked(Field.IN_DEVICE, 0)
        side = own_ones if diagram.within(inside, own_ones) else own_ones ^ 1
        states = diagram.both(states, side)
        packets = diagram.both(diagram.both(product(diagram, term), group.packets), states)
        for example, old, new in self._answers(packets):
            if old is not None and new is not None and old.shares != new.shares:
                self.result.differences.append(
                    Difference(
                        packets=text,
                        given=self._given(group),
                        example=example,
                        old=old,
                        new=new,
                        space=self.space,
                        term=term,
                    )
                )
                return True
        given = self._given(group)
        if given:
            self.result.unknown.append(f"{text}: depends on {', '.join(given)}")
        else:
            self.unsent.append(f"{text}: no example of it could be sent")
        return False

    def _answers(self, packets: int) -> Iterator[tuple[Example, Answer | None, Answer | None]]:
        """Yield examples with what both engines say; of IPv6 ones the sets alone say it."""
        own, there = self.old.own_addresses(), self.new.devices()
        devices = [name for name in self.old.devices() if name in there]
        if self.old.walks:
            for example in islice(examples(self.space, packets, own, devices), TRIES):
                yield example, ask_engine(self.old, example), ask_engine(self.new, example)
            return
        for chosen in islice(examples6(self.space, packets, own, devices), TRIES):
            old, new = (
                reasoned(reach, side, chosen.packets)
                for reach, side in zip(self.reaches, self.sides, strict=True)
            )
            yield chosen.example, old, new

    def _given(self, group: Group) -> tuple[str, ...]:
        """Return what decides beside the packet whether it fares differently."""
        names: dict[str, None] = {}
        every = list(cases(group.old, group.new))
        for given, _, _ in every:
            names |= {self.space.unknowables[variable].text: None for variable in given}
        return tuple(names)


def _order(found: Difference) -> tuple[bool, bool, str, str, str]:
    """Put first packets from outside first, of these what is let through now; then by words."""
    opened = found.new.verdict == "ACCEPT" and found.old.verdict != "ACCEPT"
    later = bool(found.example.first) or not found.example.device
    return later, not opened, found.old.text, found.new.text, found.packets
