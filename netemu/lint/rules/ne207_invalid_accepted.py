"""Packets that belong to no connection are accepted.

Kernel: none.

What it does: Finds rules with the target ACCEPT that name the state INVALID, or all but others.

Why it matters: INVALID is what conntrack cannot make sense of: wrong sequence numbers, answers to
nothing, broken headers. NAT does not touch such packets, so they leave with their private
addresses.

Example:
    *filter
    :INPUT ACCEPT [0:0]
    -A INPUT -m conntrack --ctstate INVALID,RELATED,ESTABLISHED -j ACCEPT
    COMMIT

Use instead:

    *filter
    :INPUT ACCEPT [0:0]
    -A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
    -A INPUT -m conntrack --ctstate INVALID -j DROP
    COMMIT

References: iptables-extensions(8), conntrack; nf_conntrack_in in net/netfilter/nf_conntrack_core.c.
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

RST = 0x04
"""A reset of no connection is INVALID (sNO in nf_conntrack_proto_tcp.c)."""
_STATES = re.compile(r"(! )?--(?:ct)?state (\S+)")


def check(subject: Subject) -> Iterator[Finding]:
    """Yield a finding for each rule that names INVALID and lets such packets go on."""
    for site in subject.sites:
        if not _names_invalid(site):
            continue
        entering = entering_of(subject)
        packets = entering.both(
            entering.taken(site),
            entering.read.masked(Field.CT_STATE, CtState.INVALID),
            entering.read.masked(Field.TCP_FLAGS, RST),
        )
        witness = entering.shown(packets, matched=[place_of(site)])
        if witness is not None:
            yield subject.about(
                site,
                "packets of state INVALID are accepted",
                span=subject.option_span(site.rule, "--ctstate", "--state"),
                witness=witness,
            )


def _names_invalid(site: Site) -> bool:
    """Return whether a rule accepts by state, and INVALID is among these states."""
    target = site.rule.target
    if target is None or target.standard is not Verdict.ACCEPT or site.table.name != "filter":
        return False
    return any(
        match.name in {"conntrack", "state"}
        and (found := _STATES.search(match.text)) is not None
        and ("INVALID" in found[2].split(",")) != bool(found[1])
        for match in site.rule.matches
    )


RULE = LintRule(
    code="NE207",
    name="invalid-accepted",
    level=Level.WARNING,
    summary="Packets that belong to no connection are accepted",
    check=check,
)
