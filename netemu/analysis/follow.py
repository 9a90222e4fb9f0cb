"""One packet followed by the sets alone: the rules that it meets, and where it ends.

Kernel: none.

This is for packets that the engine does not walk. A rule that depends on what no packet tells
(`limit`) may match: it counts as one that does.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct, field

from netemu.analysis.bdd import EMPTY
from netemu.analysis.behaviour import end_of
from netemu.analysis.reach import Reach, RuleReach
from netemu.analysis.walk import Summary
from netemu.netfilter.hook import Verdict


class Followed(Struct):
    """What one packet met."""

    visited: list[RuleReach] = field(default_factory=list)
    matched: list[RuleReach] = field(default_factory=list)
    """In its order; policies that took it are among them."""
    verdict: str = "ACCEPT"
    decided_by: RuleReach | None = None
    """The rule or policy that ended it, or the last one that accepted it."""


def follow(reach: Reach, packet: int) -> Followed:
    """Follow the packets of a set, which should be one."""
    found = Followed()
    for station in reach.path.stations:
        for arrival in station.arrivals:
            there = reach.space.diagram.both(arrival.packets, packet)
            if there == EMPTY:
                continue
            for rule in _through(reach, station.table, arrival.summary, there, found.visited):
                found.matched.append(rule)
                end = end_of(rule.rule, rule.chain)
                if end is not None:
                    found.verdict, found.decided_by = end.verdict, rule
                elif _accepts(rule):
                    found.decided_by = rule
            if found.verdict != "ACCEPT":
                return found
    return found


def _accepts(rule: RuleReach) -> bool:
    target = rule.rule.target if rule.rule is not None else None
    if rule.rule is None:
        return rule.chain.policy == Verdict.ACCEPT
    return target is not None and target.standard == Verdict.ACCEPT


def _through(
    reach: Reach, table: str, summary: Summary, there: int, visited: list[RuleReach]
) -> Iterator[RuleReach]:
    """Yield the rules that match packets on their way through a chain and those below."""
    both = reach.space.diagram.both
    for number, passages in enumerate(summary.rules, 1):
        rule = reach.rule(table, summary.chain.name, number)
        for passed in passages:
            if both(there, passed.reached) == EMPTY:
                continue
            visited.append(rule)
            taken = both(there, passed.taken)
            if taken == EMPTY:
                continue
            yield rule
            jump = rule.rule.jump if rule.rule is not None else ""
            if jump:
                for view, sent, called in summary.calls:
                    if view is passed.view and sent == passed.taken and called.chain.name == jump:
                        yield from _through(reach, table, called, taken, visited)
                        break
