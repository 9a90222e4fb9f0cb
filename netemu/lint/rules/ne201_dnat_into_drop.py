"""All packets that a DNAT translates are dropped.

Kernel: none.

What it does: Finds DNAT and REDIRECT rules of whose packets no other table lets any through.

Why it matters: The forwarding is set up and does not work: the translated packet passes FORWARD (or
INPUT, for REDIRECT) with its new destination, and needs a rule there.

Example:
    *nat
    :PREROUTING ACCEPT [0:0]
    :POSTROUTING ACCEPT [0:0]
    -A PREROUTING -i eth0 -p tcp --dport 80 -j DNAT --to-destination 10.0.0.2:8080
    COMMIT
    *filter
    :FORWARD DROP [0:0]
    -A FORWARD -d 10.0.0.2/32 -p tcp --dport 80 -j ACCEPT
    COMMIT

Use instead:

    *nat
    :PREROUTING ACCEPT [0:0]
    :POSTROUTING ACCEPT [0:0]
    -A PREROUTING -i eth0 -p tcp --dport 80 -j DNAT --to-destination 10.0.0.2:8080
    COMMIT
    *filter
    :FORWARD DROP [0:0]
    -A FORWARD -d 10.0.0.2/32 -p tcp --dport 8080 -j ACCEPT
    -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
    COMMIT

References: the order of hooks in include/uapi/linux/netfilter_ipv4.h.
"""

from __future__ import annotations

from collections.abc import Iterator

from netemu.analysis.bdd import EMPTY
from netemu.lint.entering import WAYS, entering_of, place_of
from netemu.lint.finding import Finding, Level
from netemu.lint.nat_rules import nat_sites, translated
from netemu.lint.rule import LintRule
from netemu.lint.subject import Site, Subject

LOOPBACK = 127


def check(subject: Subject) -> Iterator[Finding]:
    """Yield a finding for each translation that leads nowhere."""
    for site in nat_sites(subject, "DNAT", "REDIRECT"):
        entering = entering_of(subject)
        taken = entering.both(entering.taken(site), entering.fresh())
        forwarded = entering.both(taken, entering.from_outside())
        taken = taken if forwarded == EMPTY else forwarded
        if taken == EMPTY or entering.meet(taken, entering.accepted(*_ways(subject, site))):
            continue
        witness = entering.shown(taken, matched=[place_of(site)], verdicts={"DROP", "REJECT"})
        if witness is not None:
            yield subject.about(
                site, "no packet that this rule translates is let through", witness=witness
            )


def _ways(subject: Subject, site: Site) -> tuple[str, ...]:
    """Return the ways that translated packets may take.

    Of a mere rule file nobody knows the node's addresses: what DNAT names is another host.
    """
    to = translated(site)
    if subject.is_snapshot or to is None or to.low[0] == LOOPBACK:
        return WAYS
    return tuple(way for way in WAYS if way != "in")


RULE = LintRule(
    code="NE201",
    name="dnat-into-drop",
    level=Level.WARNING,
    summary="All packets that a DNAT translates are dropped",
    check=check,
)
