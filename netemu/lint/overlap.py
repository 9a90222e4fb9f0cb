"""Pairs of rules of one chain that ask for the same packets and do something else with them.

Kernel: none.

Theory of operation: of a chain's rules those that decide by the packet alone are looked at, less
the one without conditions at its end, which is its policy. A rule is compared with earlier ones
only if it asks for anything that one of another verdict asks for: a union for each verdict tells.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from netemu.analysis.bdd import EMPTY
from netemu.analysis.program import ReadyRule
from netemu.analysis.reach import RuleReach
from netemu.lint.dead import place_of
from netemu.lint.finding import Finding, Related
from netemu.lint.reach_findings import MOST_RELATED
from netemu.lint.subject import Site, Subject
from netemu.netfilter.hook import Verdict


class Decider(Struct, frozen=True, kw_only=True):
    """A rule that decides, with the packets that it asks for and those that it gets."""

    rule: RuleReach
    word: str
    """ACCEPT, or DROP if it is refused in any way."""
    asked: int
    taken: int


class Clash(Struct, frozen=True, kw_only=True):
    """A rule and the earlier ones that decide otherwise about some of its packets."""

    later: Decider
    contained: tuple[Decider, ...]
    """Those that ask for nothing that it does not ask for, too."""
    crossing: tuple[Decider, ...]
    """Those that ask for other packets besides."""


def clashes(subject: Subject) -> Iterator[Clash]:
    """Yield the rules that earlier ones of their chains make exceptions to."""
    reach = subject.prover.reach
    both, within = reach.space.diagram.both, reach.space.diagram.within
    for table in subject.ruleset.tables:
        for chain in reach.programs[table.name].chains.values():
            if subject.spares(chain.name):
                continue
            earlier: list[Decider] = []
            asked_by: dict[str, int] = {}
            for ready in chain.rules:
                word = _decides(ready)
                rule = reach.rule(table.name, chain.name, ready.number)
                if not word or not rule.takes_any:
                    continue
                here = Decider(rule=rule, word=word, asked=rule.asked, taken=rule.taken)
                others = reach.space.either(
                    packets for verdict, packets in asked_by.items() if verdict != word
                )
                if both(here.asked, others) != EMPTY:
                    exceptions = [
                        one
                        for one in earlier
                        if one.word != word and both(one.taken, here.asked) != EMPTY
                    ]
                    inside = [one for one in exceptions if within(one.asked, here.asked)]
                    yield Clash(
                        later=here,
                        contained=tuple(inside),
                        crossing=tuple(one for one in exceptions if one not in inside),
                    )
                earlier.append(here)
                asked_by[word] = reach.space.either((asked_by.get(word, EMPTY), here.asked))


def _decides(ready: ReadyRule) -> str:
    """Return what a rule that asks for something, by the packet alone, makes of its packets."""
    rule, target = ready.rule, ready.rule.target
    conditions = not rule.generic.unconditional or any(
        match.name != "comment" for match in rule.matches
    )
    if target is None or ready.jump or ready.drawn or not conditions:
        return ""
    if target.standard is Verdict.ACCEPT:
        return "ACCEPT"
    return "DROP" if ready.decides == Verdict.DROP else ""


def finding_of(
    subject: Subject, later: Decider, exceptions: tuple[Decider, ...], message: str, why: str
) -> Finding | None:
    """Return the finding about a rule, with a packet that an exception takes before it."""
    both = subject.prover.reach.space.diagram.both
    first = exceptions[0]
    place, before = place_of(later.rule), place_of(first.rule)
    witness = subject.prover.shown(
        both(first.taken, later.asked),
        lambda seen: before in seen.matched and place not in seen.matched,
    )
    if witness is None or later.rule.rule is None:
        return None
    related: tuple[Related, ...] = ()
    for one in exceptions[:MOST_RELATED]:
        if one.rule.rule is not None:
            related += subject.related(one.rule.rule, why)
    return subject.about(
        Site(later.rule.table, later.rule.chain, later.rule.number, later.rule.rule),
        message,
        witness=witness,
        related=related,
    )
