"""MASQUERADE of whatever leaves, by whichever device.

Kernel: none.

What it does: Finds MASQUERADE rules that ask for no output device, no source and no mark, as does
nothing that leads to them.

Why it matters: What goes to the networks behind the node is masqueraded, too: servers there see the
node instead of their clients.

Example:
    *nat
    :PREROUTING ACCEPT [0:0]
    :POSTROUTING ACCEPT [0:0]
    -A POSTROUTING -j MASQUERADE
    COMMIT

Use instead:

    *nat
    :PREROUTING ACCEPT [0:0]
    :POSTROUTING ACCEPT [0:0]
    -A POSTROUTING -o eth0 -j MASQUERADE
    COMMIT

References: iptables-extensions(8), MASQUERADE.
"""

from __future__ import annotations

from collections.abc import Iterator

from netemu.lint.entering import entering_of, place_of
from netemu.lint.finding import Finding, Level
from netemu.lint.nat_rules import is_plain, nat_sites
from netemu.lint.rule import LintRule
from netemu.lint.subject import Site, Subject
from netemu.netfilter.xtables.model import Invert


def check(subject: Subject) -> Iterator[Finding]:
    """Yield a finding for each such rule that packets come to unsorted."""
    for site in nat_sites(subject, "MASQUERADE"):
        if not _asks_nothing(site) or not _comes_unsorted(subject, site):
            continue
        entering = entering_of(subject)
        packets = entering.both(entering.taken(site), entering.from_outside(), entering.fresh())
        witness = entering.shown(packets, matched=[place_of(site)], verdicts={"ACCEPT"})
        if witness is not None:
            yield subject.about(
                site,
                "whatever is forwarded is masqueraded, by whichever device it leaves; -o would "
                "name one",
                witness=witness,
            )


def _asks_nothing(site: Site) -> bool:
    """Return whether a rule asks at most for a protocol, and that packets leave the node."""
    generic = site.rule.generic
    leaves = generic.out_device == "lo" and bool(generic.invert & Invert.VIA_OUT)
    named = generic.in_device or generic.source_mask or generic.destination_mask
    return not named and (leaves or not generic.out_device) and is_plain(site)


def _comes_unsorted(subject: Subject, site: Site) -> bool:
    """Return whether no rule of POSTROUTING, or of the chain, picks packets before."""
    before = site.chain.rules[: site.number - 1]
    if any(rule.goto or rule.target is not None for rule in before):
        return False
    if site.chain.name == "POSTROUTING":
        return True
    return any(
        _asks_nothing(one) and _comes_unsorted(subject, one)
        for one in subject.sites
        if one.rule.jump == site.chain.name and one.table is site.table
    )


RULE = LintRule(
    code="NE202",
    name="masquerade-everywhere",
    level=Level.WARNING,
    summary="MASQUERADE of whatever leaves, by whichever device",
    check=check,
)
