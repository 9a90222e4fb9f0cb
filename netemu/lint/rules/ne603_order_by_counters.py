"""The rule that most packets need stands behind others.

Kernel: none.

What it does: Finds, by the counters of `iptables-save -c`, a rule that may stand earlier in its
chain without changing anything, and would save most of the comparisons there: all rules before
which it would move have the same verdict.

Why it matters: Rules are tried in their order; the one that matches most belongs first.

Example:
    *filter
    :INPUT DROP [10:600]
    [1:60] -A INPUT -p tcp -m tcp --dport 23 -j ACCEPT
    [2:60] -A INPUT -p tcp -m tcp --dport 24 -j ACCEPT
    [3:60] -A INPUT -p tcp -m tcp --dport 25 -j ACCEPT
    [4:60] -A INPUT -p tcp -m tcp --dport 26 -j ACCEPT
    [5:60] -A INPUT -p tcp -m tcp --dport 27 -j ACCEPT
    [6:60] -A INPUT -p tcp -m tcp --dport 28 -j ACCEPT
    [7:60] -A INPUT -p tcp -m tcp --dport 29 -j ACCEPT
    [98000:9000000] -A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
    COMMIT

Use instead:

    *filter
    :INPUT DROP [10:600]
    [98000:9000000] -A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
    [1:60] -A INPUT -p tcp -m tcp --dport 23 -j ACCEPT
    [2:60] -A INPUT -p tcp -m tcp --dport 24 -j ACCEPT
    [3:60] -A INPUT -p tcp -m tcp --dport 25 -j ACCEPT
    [4:60] -A INPUT -p tcp -m tcp --dport 26 -j ACCEPT
    [5:60] -A INPUT -p tcp -m tcp --dport 27 -j ACCEPT
    [6:60] -A INPUT -p tcp -m tcp --dport 28 -j ACCEPT
    [7:60] -A INPUT -p tcp -m tcp --dport 29 -j ACCEPT
    COMMIT

References: ipt_do_table in net/ipv4/netfilter/ip_tables.c.
"""

from __future__ import annotations

from collections.abc import Iterator

from netemu.lint.finding import Finding, Level
from netemu.lint.rule import LintRule
from netemu.lint.subject import Site, Subject
from netemu.netfilter.hook import Verdict
from netemu.netfilter.xtables.model import Chain, Rule, Table

FEWEST_PACKETS = 10_000
"""Below, counters say nothing about what is usual."""
FEWEST_PLACES = 5
SAVED = 0.5
"""Share of a chain's comparisons that moving one rule must save to be worth a word."""


def check(subject: Subject) -> Iterator[Finding]:
    """Yield a finding for the best move in each chain, if it is worth it."""
    for table in subject.ruleset.tables:
        for chain in table.chains.values():
            finding = _best_move(subject, table, chain)
            if finding is not None:
                yield finding


def _best_move(subject: Subject, table: Table, chain: Chain) -> Finding | None:
    rules = chain.rules
    ends = sum(rule.packets for rule in rules if _verdict(rule) is not None) + chain.packets
    if ends < FEWEST_PACKETS or len(rules) <= FEWEST_PLACES:
        return None
    hits = [rule.packets if _verdict(rule) is not None else 0 for rule in rules]
    compared = sum(hits[at] * (at + 1) for at in range(len(rules)))
    compared += (ends - sum(hits)) * len(rules)
    best, best_saved, best_to = -1, 0, 0
    first = 0
    """The first of the neighbouring rules that have the same verdict as the present one."""
    for at in range(1, len(rules)):
        if _verdict(rules[at]) is None or _verdict(rules[at]) is not _verdict(rules[at - 1]):
            first = at
            continue
        saved = hits[at] * (at - first) - sum(hits[first:at])
        if saved > best_saved and at - first >= FEWEST_PLACES:
            best, best_saved, best_to = at, saved, first
    if best < 0 or best_saved < compared * SAVED:
        return None
    site = Site(table, chain, best + 1, rules[best])
    share = round(100 * best_saved / compared)
    return subject.about(
        site,
        f"{hits[best]} packets came past {best - best_to} rules with the same verdict; as rule "
        f"{best_to + 1} of {chain.name} it would save {share} % of the comparisons there",
        related=subject.related(rules[best_to], "it may stand before this one"),
    )


def _verdict(rule: Rule) -> Verdict | None:
    """Return the verdict of a rule of which only the verdict is noticed."""
    target = rule.target
    if target is None or target.standard not in {Verdict.ACCEPT, Verdict.DROP}:
        return None
    if any(
        not getattr(match.declaration, "passive", False) and _remembers(match.name)
        for match in rule.matches
    ):
        return None
    return target.standard


def _remembers(name: str) -> bool:
    """Return whether a match counts or notes what it sees, so that its place matters."""
    return name in {
        "limit", "hashlimit", "recent", "quota", "statistic", "set", "connlimit", "rateest", "bpf",
        "nfacct", "led", "time",
    }  # fmt: skip


RULE = LintRule(
    code="NE603",
    name="order-by-counters",
    level=Level.INFO,
    summary="The rule that most packets need stands behind others",
    check=check,
    stylistic=True,
)
