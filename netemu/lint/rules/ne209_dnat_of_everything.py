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

from netemu.lint.entering import STRANGER, entering_of, place_of
from netemu.lint.finding import Finding, Level
from netemu.lint.nat_rules import nat_sites
from netemu.lint.rule import LintRule
from netemu.lint.subject import Site, Subject
from netemu.netfilter.hook import Family
from netemu.netfilter.xtables.space import Field

MOST_RELATED = 5


def check(subject: Subject) -> Iterator[Finding]:
    """Yield a finding for each chain with a DNAT to which every destination is the same."""
    if subject.family is not Family.IPV4:
        return
    chains: dict[str, list[Site]] = {}
    for site in nat_sites(subject, "DNAT", "REDIRECT"):
        generic = site.rule.generic
        if generic.in_device or generic.destination_mask or generic.source_mask:
            continue
        if subject.spares(site.chain.name):
            continue
        if _from_several(subject, site):
            chains.setdefault(site.chain.name, []).append(site)
    for first, *others in chains.values():
        entering = entering_of(subject)
        witness = entering.shown(_foreign(subject, first), matched=[place_of(first)])
        if witness is not None:
            more = f" (so do {len(others)} more rules of this chain)" if others else ""
            yield subject.about(
                first,
                "takes packets to any address, from whichever device they come; -i or -d would say "
                f"which are meant{more}",
                witness=witness,
                related=tuple(
                    one for site in others[:MOST_RELATED] for one in subject.related(site.rule)
                ),
            )


def _foreign(subject: Subject, site: Site) -> int:
    """Return packets to somebody else that a rule takes."""
    entering = entering_of(subject)
    return entering.both(
        entering.taken(site),
        entering.prefix(Field.DESTINATION, STRANGER, 32),
        entering.read.outside(entering.read.local(Field.DESTINATION)),
        entering.fresh(),
    )


def _from_several(subject: Subject, site: Site) -> bool:
    """Return whether such packets come from more than one device."""
    entering = entering_of(subject)
    taken = _foreign(subject, site)
    by = [name for name in entering.devices() if entering.meet(taken, entering.from_device(name))]
    return len(by) > 1


RULE = LintRule(
    code="NE209",
    name="dnat-of-everything",
    level=Level.WARNING,
    summary="A DNAT that takes what goes elsewhere, too",
    check=check,
    stylistic=True,
)
