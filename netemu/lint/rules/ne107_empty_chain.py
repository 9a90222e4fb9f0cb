"""A jump to a chain without rules.

Kernel: none.

What it does: Finds chains of the user's own that rules jump to and that hold no rule.

Why it matters: The jump does nothing; whoever reads it expects that it does. It may be that the
rules of the chain were lost.

Example:
    *filter
    :INPUT ACCEPT [0:0]
    :block - [0:0]
    -A INPUT -j block
    -A INPUT -p tcp -m tcp --dport 22 -j ACCEPT
    COMMIT

Use instead:

    *filter
    :INPUT ACCEPT [0:0]
    -A INPUT -p tcp -m tcp --dport 22 -j ACCEPT
    COMMIT

References: iptables(8).
"""

from __future__ import annotations

from collections.abc import Iterator

from netemu.lint.dead import place_of
from netemu.lint.finding import Finding, Level, Witness
from netemu.lint.rule import LintRule
from netemu.lint.subject import Site, Subject


def check(subject: Subject) -> Iterator[Finding]:
    """Yield a finding for each chain without rules that is jumped to."""
    for table in subject.ruleset.tables:
        jumps: dict[str, Site] = {}
        for site in subject.sites:
            if site.table is table and site.rule.jump:
                jumps.setdefault(site.rule.jump, site)
        for chain in table.chains.values():
            jump = jumps.get(chain.name)
            if chain.policy is not None or chain.rules or subject.spares(chain.name):
                continue
            if jump is not None:
                yield subject.about_chain(
                    table,
                    chain,
                    f"chain {chain.name} has no rules: the jump to it does nothing",
                    witness=_witness(subject, jump),
                    related=subject.related(jump.rule, "jumps there"),
                )


def _witness(subject: Subject, site: Site) -> Witness | None:
    """Return a packet that jumps there and comes back as it was."""
    prover = subject.prover
    jump = prover.reach.rule(site.table.name, site.chain.name, site.number)
    return prover.shown(jump.taken, lambda seen: place_of(jump) in seen.matched)


RULE = LintRule(
    code="NE107",
    name="empty-chain",
    level=Level.STYLE,
    summary="A jump to a chain without rules",
    check=check,
    stylistic=True,
)
