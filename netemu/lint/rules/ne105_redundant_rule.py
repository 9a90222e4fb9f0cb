"""A rule without which every packet fares the same.

Kernel: none.

What it does: Finds rules whose packets would get the same verdict from later rules of the chain or
from its policy, with nothing else happening on the way.

Why it matters: It can be left out. What stays is easier to read, and a change of the later rule
does not have to be made twice.

Example:
    *filter
    :INPUT DROP [0:0]
    -A INPUT -s 10.1.2.0/24 -j ACCEPT
    -A INPUT -s 10.0.0.0/8 -j ACCEPT
    COMMIT

Use instead:

    *filter
    :INPUT DROP [0:0]
    -A INPUT -s 10.0.0.0/8 -j ACCEPT
    COMMIT

References: Al-Shaer and Hamed, "Firewall Policy Advisor for Anomaly Discovery and Rule Editing",
2003 (redundancy).
"""

from __future__ import annotations

from collections.abc import Iterator

from netemu.analysis.bdd import EMPTY
from netemu.analysis.program import ReadyChain, ReadyRule
from netemu.analysis.reach import Reach, RuleReach
from netemu.lint.dead import place_of
from netemu.lint.finding import Finding, Level, Related
from netemu.lint.reach_findings import MOST_RELATED, deletion, lines_text
from netemu.lint.rule import LintRule
from netemu.lint.subject import Site, Subject
from netemu.lint.witness import Seen
from netemu.netfilter.hook import Verdict
from netemu.netfilter.xtables.model import RETURN

_PLAIN = {Verdict.ACCEPT: "ACCEPT", Verdict.DROP: "DROP", RETURN: "RETURN"}


def check(subject: Subject) -> Iterator[Finding]:
    """Yield a finding for each rule that later ones make needless."""
    reach = subject.prover.reach
    dead = {place_of(one.rule) for one in subject.dead}
    for table in subject.ruleset.tables:
        program = reach.programs[table.name]
        for chain in program.chains.values():
            for ready in chain.rules:
                rule = reach.rule(table.name, chain.name, ready.number)
                if _words(ready) and place_of(rule) not in dead and rule.takes_any:
                    heirs = _heirs(reach, chain, rule, ready, dead)
                    if heirs is not None:
                        found = _finding(subject, rule, heirs)
                        if found is not None:
                            yield found


def _words(ready: ReadyRule) -> str:
    """Return what a rule does, where that is all that it does; empty where it is more."""
    target = ready.rule.target
    if target is None or ready.jump or ready.drawn or ready.target is not None:
        return ""
    return target.text if target.standard in _PLAIN or ready.decides == Verdict.DROP else ""


def _heirs(
    reach: Reach,
    chain: ReadyChain,
    rule: RuleReach,
    ready: ReadyRule,
    dead: set[tuple[str, str, int]],
) -> tuple[RuleReach, ...] | None:
    """Return the later rules that would do the same with all packets of a rule; None if not all.

    An empty tuple stands for the policy, or for the chain's end.
    """
    diagram = reach.space.diagram
    program = reach.programs[rule.table.name]
    words = _words(ready)
    heirs: dict[int, RuleReach] = {}
    for visit in rule.visits():
        left = visit.passed.taken
        if not reach.comes(visit, left):
            continue
        left = diagram.both(left, reach.space.either(visit.arrival.came[visit.summary].values()))
        for later in chain.rules[ready.number :]:
            asked, _ = program.takes(later, visit.passed.view, 0)
            if not diagram.meet(left, asked):
                continue
            if _words(later) != words or (rule.table.name, chain.name, later.number) in dead:
                return None
            heirs[later.number] = reach.rule(rule.table.name, chain.name, later.number)
            left = diagram.without(left, asked)
            if left == EMPTY:
                break
        if left != EMPTY and not _ends_like(chain, ready):
            return None
    return tuple(heirs.values())


def _ends_like(chain: ReadyChain, ready: ReadyRule) -> bool:
    """Return whether the chain's end does what a rule does."""
    if chain.policy is None or ready.decides == RETURN:
        return ready.decides == RETURN
    target = ready.rule.target
    return target is not None and target.standard == chain.policy


def _finding(subject: Subject, rule: RuleReach, heirs: tuple[RuleReach, ...]) -> Finding | None:
    place = place_of(rule)

    def matches(seen: Seen) -> bool:
        return place in seen.matched

    witness = subject.prover.shown(rule.taken, matches)
    if (witness is None and subject.prover.walks) or rule.rule is None:
        return None
    end = "the end of the chain" if rule.chain.policy is None else "the policy"
    by = lines_text(heirs) if heirs else end
    related: tuple[Related, ...] = ()
    for one in heirs[:MOST_RELATED]:
        if one.rule is not None:
            related += subject.related(one.rule, "does the same with its packets")
    return subject.about(
        Site(rule.table, rule.chain, rule.number, rule.rule),
        f"redundant: without it {by} would do the same with all its packets",
        witness=witness,
        related=related,
        fix=deletion(rule.line, "the packets fare the same without it"),
    )


RULE = LintRule(
    code="NE105",
    name="redundant-rule",
    level=Level.INFO,
    summary="Later rules would do the same with all packets of a rule",
    check=check,
    stylistic=True,
)
