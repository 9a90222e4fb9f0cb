"""A DNAT that takes what goes elsewhere, too.

Kernel: none.

What it does: Finds DNAT and REDIRECT rules that take packets to foreign addresses from several
devices: neither the input device nor the destination is named.

Why it matters: Everything that passes by is translated: what hosts behind the node send to port 80
of the internet ends at the server inside.

Example:
    *nat
    :PREROUTING ACCEPT [0:0]
    :POSTROUTING ACCEPT [0:0]
    -A PREROUTING -p tcp --dport 80 -j DNAT --to-destination 10.0.0.2
    -A POSTROUTING -s 10.0.0.0/24 ! -o br0 -j MASQUERADE
    COMMIT

Use instead:

    *nat
    :PREROUTING ACCEPT [0:0]
    :POSTROUTING ACCEPT [0:0]
    -A PREROUTING -i eth0 -p tcp --dport 80 -j DNAT --to-destination 10.0.0.2
    COMMIT

References: iptables-extensions(8), DNAT.
"""

from __future__ import annotations

from collections.abc import Iterator

from netemu.lint.entering import STRANGER, place_of
from netemu.lint.finding import Finding, Level
from netemu.lint.nat_rules import nat_sites
from netemu.lint.rule import LintRule
from netemu.lint.subject import Subject
from netemu.netfilter.hook import Family
from netemu.netfilter.xtables.space import Field


def check(subject: Subject) -> Iterator[Finding]:
    """Yield a finding for each DNAT to which every destination is the same."""
    if subject.family is not Family.IPV4:
        return
    for site in nat_sites(subject, "DNAT", "REDIRECT"):
        generic = site.rule.generic
        if generic.in_device or generic.destination_mask or generic.source_mask:
            continue
        entering = subject.entering
        taken = entering.both(
            entering.taken(site),
            entering.prefix(Field.DESTINATION, STRANGER, 32),
            entering.read.outside(entering.read.local(Field.DESTINATION)),
            entering.fresh(),
        )
        by = [
            name for name in entering.devices() if entering.meet(taken, entering.from_device(name))
        ]
        if len(by) < 2:
            continue
        witness = entering.shown(taken, matched=[place_of(site)])
        if witness is not None:
            yield subject.about(
                site,
                "packets to any address are translated, from whichever device they come; -i or -d "
                "would say which are meant",
                witness=witness,
            )


RULE = LintRule(
    code="NE209",
    name="dnat-of-everything",
    level=Level.WARNING,
    summary="A DNAT that takes what goes elsewhere, too",
    check=check,
)
