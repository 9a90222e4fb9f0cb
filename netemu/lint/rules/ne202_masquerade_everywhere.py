"""MASQUERADE of whatever leaves, by whichever device.

Kernel: none.

What it does: Finds MASQUERADE rules in POSTROUTING that ask for nothing: no output device, no
source, no mark.

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
from netemu.lint.subject import Subject


def check(subject: Subject) -> Iterator[Finding]:
    """Yield a finding for each such rule that packets come to unsorted."""
    for site in nat_sites(subject, "MASQUERADE"):
        if site.chain.name != "POSTROUTING" or not site.rule.generic.unconditional:
            continue
        before = site.chain.rules[: site.number - 1]
        sorted_out = any(rule.goto or rule.target is not None for rule in before)
        if sorted_out or not is_plain(site):
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


RULE = LintRule(
    code="NE202",
    name="masquerade-everywhere",
    level=Level.WARNING,
    summary="MASQUERADE of whatever leaves, by whichever device",
    check=check,
)
