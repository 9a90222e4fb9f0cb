"""A filter rule names an address or port as it was before DNAT.

Kernel: none.

What it does: Finds rules of table filter that drop or reject, and name a destination that a DNAT
has already replaced when packets come to them: the host port of a published container in
DOCKER-USER or INPUT, a NodePort in INPUT, a ClusterIP in FORWARD.

Why it matters: Table filter sees the translated packet, and of published ports in FORWARD, never in
INPUT. What the rule should keep out comes in.

Example:
    *nat
    :PREROUTING ACCEPT [0:0]
    :POSTROUTING ACCEPT [0:0]
    -A PREROUTING -i eth0 -p tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80
    COMMIT
    *filter
    :INPUT ACCEPT [0:0]
    -A INPUT -p tcp --dport 8080 -j DROP
    COMMIT

Use instead: `-A DOCKER-USER -i eth0 -p tcp -m conntrack --ctorigdstport 8080 --ctdir ORIGINAL -j
DROP`, or the container's own port in FORWARD.

References: Docker's documentation, "Packet filtering and firewalls"; the order of hooks in
include/uapi/linux/netfilter_ipv4.h.
"""

from __future__ import annotations

from collections.abc import Iterator

from netemu.analysis.bdd import EMPTY
from netemu.lint.entering import entering_of, place_of
from netemu.lint.finding import Finding, Level
from netemu.lint.nat_rules import nat_sites
from netemu.lint.owners import owner_of
from netemu.lint.rule import LintRule
from netemu.lint.subject import Site, Subject
from netemu.netfilter.xtables.model import Invert

_REFUSES = frozenset({"DROP", "REJECT"})
MOST_TRANSLATIONS = 2000
"""With more, the rules that name them are not gone through one by one."""


def check(subject: Subject) -> Iterator[Finding]:
    """Yield a finding for each refusal that comes too late."""
    refusing = [site for site in subject.sites if _refuses(site)]
    translating = list(nat_sites(subject, "DNAT", "REDIRECT"))
    if not refusing or not translating or len(translating) > MOST_TRANSLATIONS:
        return
    entering = entering_of(subject)
    sets = [(site, entering.taken(site)) for site in translating]
    for site in refusing:
        meant = entering.asked(site.rule)
        taken = entering.taken(site)
        for by, translated in sets:
            missed = entering.both(meant, translated, entering.fresh(), entering.from_outside())
            if missed == EMPTY or entering.meet(missed, taken):
                continue
            witness = entering.shown(
                missed, matched=[place_of(by)], unmatched=[place_of(site)], verdicts={"ACCEPT"}
            )
            if witness is not None:
                yield subject.about(
                    site,
                    f"what this rule asks for has another destination by then: line "
                    f"{by.rule.line} translates it, and it is let through",
                    witness=witness,
                    related=subject.related(by.rule, "translates it before"),
                )
                break


def _refuses(site: Site) -> bool:
    """Return whether a rule of table filter refuses a destination that it names."""
    rule, target = site.rule, site.rule.target
    if site.table.name != "filter" or target is None or target.name not in _REFUSES:
        return False
    if subject_owned(site.chain.name):
        return False
    named = bool(rule.generic.destination_mask) and not rule.generic.invert & Invert.DSTIP
    return named or any(
        "--dport" in match.text and "! --dport" not in match.text for match in rule.matches
    )


def subject_owned(chain: str) -> bool:
    """Return whether a program owns the chain, which then knows what it does."""
    return bool(owner_of(chain))


RULE = LintRule(
    code="NE208",
    name="filter-before-translation",
    level=Level.WARNING,
    summary="A filter rule names an address or port as it was before DNAT",
    check=check,
)
