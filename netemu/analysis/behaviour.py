"""What becomes of all packets: ends and changes, each with the packets that come to them.

Kernel: none.

An `End` is a way out (delivered, forwarded, dropped, refused), and which fields the packets left
with other values than they came with. The set of an end relates what packets were to what these
fields have become (twins), and to what no packet tells (draws, limits). So two rule sets of one
space behave alike for a packet exactly if each end's set says the same of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

from msgspec import Struct

from netemu.analysis.bdd import EMPTY
from netemu.analysis.reach import Reach
from netemu.analysis.space import TWIN, Run, View
from netemu.netfilter.hook import Verdict
from netemu.netfilter.xtables.kit import Target
from netemu.netfilter.xtables.model import Chain, Rule
from netemu.netfilter.xtables.space import Field

OBSERVED = (
    Field.DESTINATION,
    Field.DESTINATION_PORT,
    Field.SOURCE,
    Field.SOURCE_PORT,
    Field.MARK,
    Field.CONNMARK,
    Field.TOS,
)
"""What of a packet that got through is part of what became of it."""

Route: TypeAlias = Callable[[View], int]
"""Packets, read by a view, whose output device is the one that their destination leads to."""


class End(Struct, frozen=True):
    """A way out of the tables."""

    verdict: str
    """ACCEPT, DROP, REJECT, QUEUE or STOLEN."""
    how: str = ""
    """Of ACCEPT: in, forward, local or loop; of REJECT its type; of QUEUE its number."""
    changed: tuple[tuple[Field, Run], ...] = ()
    """How fields are read that were changed."""


EFFECT = "EFFECT"
"""Stands for a verdict where a packet meets a target that is told, on its way to its end."""


def behaviour(reach: Reach, route: Route | None = None, *, effects: bool = False) -> dict[End, int]:
    """Return each end and its packets; `route` is that of a node whose routes are known.

    With `effects` also each target that is told, with the packets that meet it, as EFFECT.
    """
    found: dict[End, int] = {}
    diagram = reach.space.diagram
    known = (
        {literal >> 1 for literal in reach.space.base[Field.OUT_DEVICE]} if route else frozenset()
    )
    ended = _ended(reach, route, end_of)
    met = _ended(reach, route, effect_of) if effects else ()
    for end, packets in (*_accepted(reach, route), *ended, *met):
        live = {literal >> 1 for _, run in end.changed for literal in run}
        dead = {one for one in diagram.support(packets) if one >= TWIN and one not in live}
        left = diagram.forget(packets, (dead | known).__contains__)
        if left != EMPTY:
            found[end] = diagram.either(found.get(end, EMPTY), left)
    return found


def _accepted(reach: Reach, route: Route | None) -> Iterator[tuple[End, int]]:
    both = reach.space.diagram.both
    for way, crowd in reach.path.delivered:
        for view, packets in crowd.parts.items():
            changed = tuple((field, view.runs[field]) for field in OBSERVED if field in view.runs)
            routed = route is not None and way in {"forward", "local"}
            left = both(packets, route(view)) if routed and route is not None else packets
            yield End("ACCEPT", way, changed), left


def _ended(
    reach: Reach, route: Route | None, says: Callable[[Rule | None, Chain], End | None]
) -> Iterator[tuple[End, int]]:
    both = reach.space.diagram.both
    for rule in reach.rules(policies=True):
        end = says(rule.rule, rule.chain)
        if end is None:
            continue
        for visit in rule.visits():
            if not reach.comes(visit, visit.passed.taken):
                continue
            packets = reach.whole(visit, visit.passed.taken)
            if route is not None and visit.station.hook.name in _ROUTED:
                packets = both(packets, route(visit.arrival.view))
            yield end, packets


_ROUTED = frozenset({"FORWARD", "OUTPUT", "POSTROUTING"})
"""Hooks that know the output device."""


def effect_of(rule: Rule | None, chain: Chain) -> End | None:
    """Return what a rule's target does besides ending packets, if that is told."""
    del chain
    target = rule.target if rule is not None else None
    if target is None or not isinstance(target.declaration, Target):
        return None
    return End(EFFECT, target.text.removeprefix("-j ")) if target.declaration.told else None


def end_of(rule: Rule | None, chain: Chain) -> End | None:
    """Return how a rule, or the chain's policy, ends packets; None if it lets them go on."""
    if rule is None:
        return End("DROP") if chain.policy == Verdict.DROP else None
    target = rule.target
    if target is None:
        return None
    declaration = target.declaration
    ends = target.standard
    if ends is None and isinstance(declaration, Target):
        ends = declaration.ends
    if ends == Verdict.QUEUE:
        return End("QUEUE", target.text.removeprefix("-j "))
    if ends == Verdict.DROP and target.name == "REJECT":
        return End("REJECT", target.text.rpartition(" ")[2])
    return End(ends.name) if ends in {Verdict.DROP, Verdict.STOLEN} and ends is not None else None
