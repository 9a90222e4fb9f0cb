"""A chain that nothing jumps to.

Kernel: none.

What it does: Finds chains of the user's own that no rule names, or that only such chains name.

Why it matters: Its rules do nothing. Either the jump to it is missing, or it is a remnant.

Example:
    *filter
    :INPUT ACCEPT [0:0]
    :ssh - [0:0]
    -A INPUT -i lo -j ACCEPT
    -A ssh -s 10.0.0.0/8 -j ACCEPT
    -A ssh -j DROP
    COMMIT

Use instead:

    *filter
    :INPUT ACCEPT [0:0]
    :ssh - [0:0]
    -A INPUT -i lo -j ACCEPT
    -A INPUT -p tcp -m tcp --dport 22 -j ssh
    -A ssh -s 10.0.0.0/8 -j ACCEPT
    -A ssh -j DROP
    COMMIT

References: iptables(8), `--new-chain`.
"""

from __future__ import annotations

from collections.abc import Iterator

from netemu.analysis.program import ReadyRule
from netemu.lint.finding import Finding, Level, Witness
from netemu.lint.rule import LintRule
from netemu.lint.subject import Subject
from netemu.netfilter.xtables.model import Chain, Table


def check(subject: Subject) -> Iterator[Finding]:
    """Yield a finding for each chain that no built-in chain leads to."""
    for table in subject.ruleset.tables:
        used = _led_to(table)
        for chain in table.chains.values():
            if chain.policy is not None or chain.name in used:
                continue
            named = any(
                rule.jump == chain.name for one in table.chains.values() for rule in one.rules
            )
            why = "only chains that nothing jumps to name it" if named else "no rule names it"
            why += "" if chain.rules else ", and it holds none"
            witness = _witness(subject, table, chain)
            yield subject.about_chain(
                table, chain, f"chain {chain.name} is never used: {why}", witness=witness
            )


def _led_to(table: Table) -> set[str]:
    """Return the chains that built-in ones lead to."""
    found: set[str] = set()
    left = [chain for chain in table.chains.values() if chain.policy is not None]
    while left:
        for rule in left.pop().rules:
            if rule.jump and rule.jump not in found:
                found.add(rule.jump)
                left.append(table.chains[rule.jump])
    return found


def _witness(subject: Subject, table: Table, chain: Chain) -> Witness | None:
    """Return a packet that one of its rules would match; of none, or of an empty chain, any packet.

    None of them comes to the chain.
    """
    prover = subject.prover
    reach = prover.reach
    ready: list[ReadyRule] = reach.programs[table.name].chains[chain.name].rules
    wanted = [reach.space.diagram.both(reach.path.domain, rule.packets) for rule in ready]
    return prover.shown_of(
        [*wanted[:MOST_RULES], reach.path.domain],
        lambda seen: all(place[:2] != (table.name, chain.name) for place in seen.visited),
    )


MOST_RULES = 3
"""So many rules are tried for a packet."""


RULE = LintRule(
    code="NE103",
    name="unused-chain",
    level=Level.INFO,
    summary="Nothing jumps to a chain",
    check=check,
    stylistic=True,
)
