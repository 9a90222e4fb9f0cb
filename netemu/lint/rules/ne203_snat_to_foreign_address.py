"""SNAT to an address that the node does not have.

Kernel: none.

What it does: Finds SNAT to addresses that no device of the node has. Of a mere rule file the rules
must tell the node's addresses: those that packets are let in to or translated from.

Why it matters: Answers go to that address. Unless a router sends them here all the same, they are
lost.

Example:
    *nat
    :PREROUTING ACCEPT [0:0]
    :POSTROUTING ACCEPT [0:0]
    -A PREROUTING -d 192.0.2.1/32 -i eth0 -p tcp --dport 80 -j DNAT --to-destination 10.0.0.2
    -A POSTROUTING -s 10.0.0.0/24 -o eth0 -j SNAT --to-source 198.51.100.9
    COMMIT

Use instead:

    *nat
    :PREROUTING ACCEPT [0:0]
    :POSTROUTING ACCEPT [0:0]
    -A POSTROUTING -s 10.0.0.0/24 -o eth0 -j SNAT --to-source 192.0.2.1
    COMMIT

References: iptables-extensions(8), SNAT; ARP answers for own addresses only (arp_process in
net/ipv4/arp.c).
"""

from __future__ import annotations

from collections.abc import Iterator

from netemu.lint.entering import entering_of, place_of
from netemu.lint.finding import Finding, Level
from netemu.lint.nat_rules import nat_sites, translated
from netemu.lint.rule import LintRule
from netemu.lint.subject import Site, Subject
from netemu.netfilter.hook import Family
from netemu.netfilter.xtables.model import Invert
from netemu.wire.address import format_address


def check(subject: Subject) -> Iterator[Finding]:
    """Yield a finding for each translation to what is not the node's."""
    if subject.family is not Family.IPV4:
        return
    own = _own_addresses(subject)
    for site in nat_sites(subject, "SNAT"):
        to = translated(site)
        if not own or to is None or any(to.low <= address <= to.high for address in own):
            continue
        entering = entering_of(subject)
        witness = entering.shown(entering.taken(site), matched=[place_of(site)])
        if witness is not None:
            shown = ", ".join(format_address(address) for address in sorted(own)[:4])
            more = ", ..." if len(own) > 4 else ""
            yield subject.about(
                site,
                f"{format_address(to.low)} is no address of the node, which has {shown}{more}: "
                "answers need not come here",
                span=subject.option_span(site.rule, "--to-source", "--to"),
                witness=witness,
            )


def _own_addresses(subject: Subject) -> set[bytes]:
    """Return the node's addresses, as far as they are told."""
    if subject.is_snapshot:
        assert subject.node is not None
        return {
            address.address
            for address in subject.node.main.addresses
            if len(address.address) == 4 and address.address[:1] != b"\x7f"
        }
    return {site.rule.generic.destination for site in subject.sites if _is_own(site)}


def _is_own(site: Site) -> bool:
    """Return whether the destination of a rule is an address of the node."""
    generic = site.rule.generic
    place = (site.table.name, site.chain.name)
    return (
        generic.destination_mask == b"\xff" * 4
        and not generic.invert & Invert.DSTIP
        and bool(generic.in_device)
        and generic.in_device != "lo"
        and place in {("nat", "PREROUTING"), ("filter", "INPUT")}
    )


RULE = LintRule(
    code="NE203",
    name="snat-to-foreign-address",
    level=Level.WARNING,
    summary="SNAT to an address that the node does not have",
    check=check,
)
