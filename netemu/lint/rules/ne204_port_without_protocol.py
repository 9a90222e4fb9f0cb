"""Ports of connections are asked for, but no protocol.

Kernel: net/netfilter/xt_conntrack.c (ct_proto_port_check) compares the tuple's 16 bits, whatever
the protocol.

What it does: Finds --ctorigsrcport, --ctorigdstport, --ctreplsrcport and --ctrepldstport in rules
that ask for no protocol, neither by -p nor by --ctproto.

Why it matters: Every protocol has something in the place of ports: UDP and SCTP other services
under the same numbers, ICMP its identifier, type and code.

Example:
    *filter
    :INPUT DROP [0:0]
    -A INPUT -m conntrack --ctorigdstport 8080 -j ACCEPT
    COMMIT

Use instead:

    *filter
    :INPUT DROP [0:0]
    -A INPUT -p tcp -m conntrack --ctorigdstport 8080 -j ACCEPT
    COMMIT

References: iptables-extensions(8), conntrack.
"""

from __future__ import annotations

from collections.abc import Iterator

from netemu.lint.entering import entering_of, place_of
from netemu.lint.finding import Finding, Level
from netemu.lint.rule import LintRule
from netemu.lint.subject import Site, Subject
from netemu.netfilter.xtables.model import Invert
from netemu.netfilter.xtables.space import Field
from netemu.wire.ipv4 import Protocol

_PORTS = ("ctorigsrcport", "ctorigdstport", "ctreplsrcport", "ctrepldstport")


def check(subject: Subject) -> Iterator[Finding]:
    """Yield a finding for each rule that asks for a port of any protocol."""
    for site in subject.sites:
        option = _option(site)
        if not option or subject.owner(site.chain.name):
            continue
        entering = entering_of(subject)
        other = entering.read.outside(entering.read.masked(Field.PROTOCOL, Protocol.TCP))
        witness = entering.shown(
            entering.both(entering.taken(site), other), matched=[place_of(site)]
        )
        if witness is not None:
            yield subject.about(
                site,
                f"--{option} is compared whatever the protocol; -p or --ctproto would say which "
                "is meant",
                span=subject.option_span(site.rule, f"--{option}"),
                witness=witness,
            )


def _option(site: Site) -> str:
    """Return the option by which a rule asks for a port of no protocol; empty if it does not."""
    generic = site.rule.generic
    if generic.protocol and not generic.invert & Invert.PROTO:
        return ""
    asked = [name for match in site.rule.matches for name in _PORTS if f"--{name} " in match.text]
    told = any("--ctproto " in match.text for match in site.rule.matches)
    return "" if told or not asked else asked[0]


RULE = LintRule(
    code="NE204",
    name="port-without-protocol",
    level=Level.INFO,
    summary="Ports of connections are asked for, but no protocol",
    check=check,
)
