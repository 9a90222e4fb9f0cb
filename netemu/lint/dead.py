"""Rules that no packet can match, and why: taken by earlier ones, cut off, or asking too much.

Kernel: none.

Theory of operation: a rule is dead if of the packets that come to its chain none is left that it
asks for. If some that it asks for come to the chain, earlier rules take them: one of them alone
where there is such a one, else several together. If none comes, the rule asks for what those who
jump to its chain (or conntrack, or the hook) keep out.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum, auto

from msgspec import Struct

from netemu.analysis.bdd import ALL, EMPTY
from netemu.analysis.program import GOES_ON
from netemu.analysis.reach import Reach, RuleReach, Visit
from netemu.analysis.space import View
from netemu.analysis.walk import below
from netemu.lint.finding import Witness
from netemu.lint.witness import Place, Prover, Seen


class Why(Enum):
    """Why no packet matches a rule."""

    SHADOWED = auto()
    """Earlier rules of its chain take all packets that it asks for."""
    CUT_OFF = auto()
    """An earlier rule of its chain takes all packets whatsoever."""
    IMPOSSIBLE = auto()
    """No packet that it asks for comes to its chain."""


class Dead(Struct, kw_only=True):
    """A rule that no packet can match."""

    rule: RuleReach
    why: Why
    by: tuple[RuleReach, ...]
    """The rules that take its packets."""


def dead_rules(reach: Reach) -> Iterator[Dead]:
    """Yield the dead rules of chains that packets come to."""
    for rule in reach.rules():
        visits = [visit for visit in rule.visits() if visit.passed.reached != EMPTY]
        if any(reach.comes(visit, visit.passed.taken) for visit in visits):
            continue
        first = reach.rule(rule.table.name, rule.chain.name, 1)
        if not first.is_reached:
            continue
        wall = None if visits and rule.is_reached else _wall(reach, rule)
        if wall is not None:
            yield Dead(rule=rule, why=Why.CUT_OFF, by=(wall,))
            continue
        by = _takers(reach, rule)
        yield Dead(rule=rule, why=Why.SHADOWED if by else Why.IMPOSSIBLE, by=by)


def place_of(rule: RuleReach) -> Place:
    """Return where a rule stands."""
    return rule.table.name, rule.chain.name, rule.number


def asked_at_entry(reach: Reach, rule: RuleReach) -> list[tuple[Visit, int]]:
    """Return what a rule asks for of packets that come to its chain, by the chain's first rule."""
    first = reach.rule(rule.table.name, rule.chain.name, 1)
    program = reach.programs[rule.table.name]
    ready = program.chains[rule.chain.name].rules[rule.number - 1]
    found = []
    for visit in first.visits():
        asked, _ = program.takes(ready, visit.passed.view, 0)
        found.append((visit, asked))
    return found


def _wall(reach: Reach, rule: RuleReach) -> RuleReach | None:
    """Return the rule before this one that all packets match and none passes."""
    for number in range(1, rule.number):
        here = reach.rule(rule.table.name, rule.chain.name, number)
        following = reach.rule(rule.table.name, rule.chain.name, number + 1)
        if here.is_reached and not following.is_reached:
            asks = all(visit.passed.asked == ALL for visit in here.visits())
            return here if asks else None
    return None


def _takers(reach: Reach, rule: RuleReach) -> tuple[RuleReach, ...]:
    """Return the one earlier rule that takes all, or those that do so together."""
    every = [
        (place, asked)
        for place, (visit, asked) in enumerate(asked_at_entry(reach, rule))
        if reach.comes(visit, asked)
    ]
    within = reach.space.diagram.within
    wanted = _Wanted(reach, rule)
    together: list[RuleReach] = []
    for number in range(1, rule.number):
        earlier = reach.rule(rule.table.name, rule.chain.name, number)
        if not _keeps(reach, earlier) or not wanted.is_taken_by(earlier):
            continue
        here = asked_at_entry(reach, earlier)
        if every and all(within(asked, here[place][1]) for place, asked in every):
            return (earlier,)
        together.append(earlier)
    return tuple(together)


class _Wanted:
    """What a rule asks for, of packets as they are where others take them."""

    def __init__(self, reach: Reach, rule: RuleReach) -> None:
        self._reach = reach
        self._program = reach.programs[rule.table.name]
        self._ready = self._program.chains[rule.chain.name].rules[rule.number - 1]
        self._asked: dict[View, int] = {}

    def packets(self, view: View) -> int:
        """Return those with fields as a view reads them."""
        if view not in self._asked:
            self._asked[view], _ = self._program.takes(self._ready, view, 0)
        return self._asked[view]

    def is_taken_by(self, earlier: RuleReach) -> bool:
        """Return whether another rule takes any."""
        both, comes = self._reach.space.diagram.both, self._reach.comes
        return any(
            comes(visit, both(visit.passed.taken, self.packets(visit.passed.view)))
            for visit in earlier.visits()
        )


def _keeps(reach: Reach, rule: RuleReach) -> bool:
    """Return whether packets that match a rule may go no further in its chain."""
    ready = reach.programs[rule.table.name].chains[rule.chain.name].rules[rule.number - 1]
    if not ready.jump:
        return ready.decides != GOES_ON
    return ready.goto or any(
        one.ends
        for visit in rule.visits()
        for _, _, called in visit.summary.calls
        if called.chain.name == ready.jump
        for one in below(called)
    )


def witness_of(prover: Prover, dead: Dead) -> Witness | None:
    """Return a packet that shows that a rule is dead."""
    reach = prover.reach
    place = place_of(dead.rule)
    if dead.why is Why.IMPOSSIBLE:
        return prover.shown_of(
            _passers_by(reach, dead.rule), lambda seen: place not in seen.matched
        )
    by = {place_of(one) for one in dead.by}

    def taken(seen: Seen) -> bool:
        return place not in seen.matched and bool(by & seen.matched)

    found = prover.shown_of(_taken_before(reach, dead), taken)
    if found is not None:
        return found
    # What it asks for is taken by others yet, before those get to see it.
    asked = (
        reach.space.entered(reach.whole(visit, packets))
        for visit, packets in asked_at_entry(reach, dead.rule)
        if reach.comes(visit, packets)
    )
    found = prover.shown_of(asked, lambda seen: place not in seen.matched)
    if found is not None:
        return found
    # Such packets cannot be made by hand: what takes them is shown with another one.
    others = (one.taken for one in dead.by)
    return prover.shown_of(others, taken)


def _taken_before(reach: Reach, dead: Dead) -> Iterator[int]:
    """Yield packets that a rule asks for and that those which shadow it take."""
    wanted = _Wanted(reach, dead.rule)
    for one in dead.by:
        for visit in one.visits():
            packets = reach.space.diagram.both(
                visit.passed.taken, wanted.packets(visit.passed.view)
            )
            if reach.comes(visit, packets):
                yield reach.space.entered(reach.whole(visit, packets))


def _passers_by(reach: Reach, rule: RuleReach) -> Iterator[int]:
    """Yield packets that the rule asks for, then such as come to it."""
    for visit, asked in asked_at_entry(reach, rule):
        packets = reach.space.diagram.both(visit.arrival.packets, asked)
        if packets != EMPTY:
            yield reach.space.entered(packets)
    for visit in rule.visits():
        if reach.comes(visit, visit.passed.reached):
            yield reach.space.entered(reach.whole(visit, visit.passed.reached))
