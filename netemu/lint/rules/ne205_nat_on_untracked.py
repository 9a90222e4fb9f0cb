"""A translation of packets that conntrack does not see.

Kernel: none.

What it does: Finds rules of table nat all of whose packets a rule of raw makes UNTRACKED.

Why it matters: Table nat sees only the first packets of tracked connections: the rule is never
asked.

Example:
    *raw
    :PREROUTING ACCEPT [0:0]
    -A PREROUTING -p tcp --dport 80 -j CT --notrack
    COMMIT
    *nat
    :PREROUTING ACCEPT [0:0]
    :POSTROUTING ACCEPT [0:0]
    -A PREROUTING -i eth0 -p tcp --dport 80 -j DNAT --to-destination 10.0.0.2
    COMMIT

Use instead: leave translated ports out of the rules with `CT --notrack`.

References: nf_nat_inet_fn in net/netfilter/nf_nat_core.c.
"""

from __future__ import annotations

from collections.abc import Iterator

from netemu.analysis.bdd import EMPTY
from netemu.analysis.reach import Reach
from netemu.lint.entering import entering_of, place_of
from netemu.lint.finding import Finding, Level
from netemu.lint.nat_rules import nat_sites
from netemu.lint.rule import LintRule
from netemu.lint.subject import Site, Subject
from netemu.netfilter.xtables.model import Ruleset


def check(subject: Subject) -> Iterator[Finding]:
    """Yield a finding for each rule whose packets are all left untracked."""
    untracking = [site for site in subject.sites if _untracks(site)]
    translating = list(nat_sites(subject, "DNAT", "REDIRECT", "SNAT", "MASQUERADE"))
    if not untracking or not translating:
        return
    entering = entering_of(subject)
    tables = [table for table in subject.ruleset.tables if table.name != "raw"]
    tracked = Reach(
        Ruleset(family=subject.family, tables=tables, file=subject.file), entering.space
    )
    sets = [(site, entering.whatever_state(entering.taken(site))) for site in untracking]
    for site in translating:
        asked = entering.whatever_state(tracked.rule("nat", site.chain.name, site.number).taken)
        untracked = entering.either(*(taken for _, taken in sets))
        if asked == EMPTY or entering.without(asked, untracked) != EMPTY:
            continue
        by = next(one for one, taken in sets if entering.meet(asked, taken))
        witness = entering.shown(asked, matched=[place_of(by)], unmatched=[place_of(site)])
        if witness is not None:
            yield subject.about(
                site,
                f"no packet gets here: line {by.rule.line} leaves all that this rule asks for "
                "untracked",
                witness=witness,
                related=subject.related(by.rule, "leaves them untracked"),
            )


def _untracks(site: Site) -> bool:
    target = site.rule.target
    return target is not None and (
        target.name == "NOTRACK" or (target.name == "CT" and "--notrack" in target.text)
    )


RULE = LintRule(
    code="NE205",
    name="nat-on-untracked",
    level=Level.WARNING,
    summary="A translation of packets that conntrack does not see",
    check=check,
)
