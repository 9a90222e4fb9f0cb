"""Packets over a limit are accepted all the same.

Kernel: none.

What it does: Finds rules that accept up to a rate (limit, hashlimit, connlimit) where everything
over it is accepted by later rules or the policy, too.

Why it matters: The limit has no effect. Behind it a rule is missing that drops the rest.

Example:
    *filter
    :INPUT ACCEPT [0:0]
    -A INPUT -p icmp -m limit --limit 10/sec -j ACCEPT
    COMMIT

Use instead:

    *filter
    :INPUT ACCEPT [0:0]
    -A INPUT -p icmp -m limit --limit 10/sec -j ACCEPT
    -A INPUT -p icmp -j DROP
    COMMIT

References: iptables-extensions(8), limit.
"""

from __future__ import annotations

from collections.abc import Iterator

from netemu.analysis.bdd import EMPTY
from netemu.analysis.space import FREE, TWIN
from netemu.lint.entering import entering_of, place_of
from netemu.lint.finding import Finding, Level
from netemu.lint.rule import LintRule
from netemu.lint.subject import Site, Subject
from netemu.netfilter.hook import Verdict

LIMITS = frozenset({"limit", "hashlimit"})


def check(subject: Subject) -> Iterator[Finding]:
    """Yield a finding for each limit over which nothing changes."""
    for site in subject.sites:
        if not _limits(site):
            continue
        entering = entering_of(subject)
        diagram = entering.space.diagram
        taken = entering.taken(site)
        drawn = {
            variable
            for variable in diagram.support(taken)
            if FREE <= variable < TWIN
            and entering.space.unknowables[variable].text.partition(" ")[0] in _names(site)
        }
        if not drawn:
            continue
        over = entering.without(diagram.drop(taken, drawn), taken)
        if over == EMPTY or entering.without(over, entering.accepted()) != EMPTY:
            continue
        witness = entering.shown(taken, matched=[place_of(site)])
        if witness is not None:
            yield subject.about(
                site,
                "the limit has no effect: packets over it are accepted by what comes behind",
                witness=witness,
            )


def _limits(site: Site) -> bool:
    target = site.rule.target
    return (
        site.table.name == "filter"
        and target is not None
        and target.standard is Verdict.ACCEPT
        and any(match.name in LIMITS for match in site.rule.matches)
    )


def _names(site: Site) -> set[str]:
    return {"-m"} | {match.name for match in site.rule.matches}


RULE = LintRule(
    code="NE706",
    name="limit-without-effect",
    level=Level.WARNING,
    summary="Packets over a limit are accepted all the same",
    check=check,
)
