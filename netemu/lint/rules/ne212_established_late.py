"""Packets of known connections pass many rules first.

Kernel: none.

What it does: Finds a rule that accepts ESTABLISHED packets behind ten and more others in a built-in
chain.

Why it matters: Nearly all packets belong to known connections, and each of them is compared with
all the rules before.

Example:
    *filter
    :INPUT ACCEPT [0:0]
    -A INPUT -s 192.0.2.1/32 -p tcp --dport 22 -j ACCEPT
    -A INPUT -s 192.0.2.2/32 -p tcp --dport 22 -j ACCEPT
    -A INPUT -s 192.0.2.3/32 -p tcp --dport 22 -j ACCEPT
    -A INPUT -s 192.0.2.4/32 -p tcp --dport 22 -j ACCEPT
    -A INPUT -s 192.0.2.5/32 -p tcp --dport 22 -j ACCEPT
    -A INPUT -s 192.0.2.6/32 -p tcp --dport 22 -j ACCEPT
    -A INPUT -s 192.0.2.7/32 -p tcp --dport 22 -j ACCEPT
    -A INPUT -s 192.0.2.8/32 -p tcp --dport 22 -j ACCEPT
    -A INPUT -s 192.0.2.9/32 -p tcp --dport 22 -j ACCEPT
    -A INPUT -s 192.0.2.10/32 -p tcp --dport 22 -j ACCEPT
    -A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
    COMMIT

Use instead:

    *filter
    :INPUT ACCEPT [0:0]
    -A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
    COMMIT

References: ipt_do_table in net/ipv4/netfilter/ip_tables.c.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from netemu.lint.entering import entering_of, place_of
from netemu.lint.finding import Finding, Level
from netemu.lint.rule import LintRule
from netemu.lint.subject import Site, Subject
from netemu.netfilter.hook import Verdict
from netemu.netfilter.xtables.space import CtState, Field

LATE = 10
"""Rules before it."""
_ESTABLISHED = re.compile(r"(?<!! )--(?:ct)?state \S*\bESTABLISHED\b")


def check(subject: Subject) -> Iterator[Finding]:
    """Yield a finding for the first such rule of each built-in chain, if it comes late."""
    seen: set[str] = set()
    for site in subject.sites:
        if not _accepts_established(site) or site.chain.name in seen:
            continue
        seen.add(site.chain.name)
        if site.number <= LATE:
            continue
        entering = entering_of(subject)
        packets = entering.both(
            entering.taken(site), entering.read.masked(Field.CT_STATE, CtState.ESTABLISHED)
        )
        witness = entering.shown(packets, matched=[place_of(site)])
        if witness is not None:
            yield subject.about(
                site,
                f"packets of known connections pass {site.number - 1} rules before this one "
                "accepts them",
                witness=witness,
            )


def _accepts_established(site: Site) -> bool:
    target, generic = site.rule.target, site.rule.generic
    return (
        site.table.name == "filter"
        and site.chain.policy is not None
        and target is not None
        and target.standard is Verdict.ACCEPT
        and generic.unconditional
        and any(_ESTABLISHED.search(match.text) for match in site.rule.matches)
    )


RULE = LintRule(
    code="NE212",
    name="established-late",
    level=Level.INFO,
    summary="Packets of known connections pass many rules first",
    check=check,
)
