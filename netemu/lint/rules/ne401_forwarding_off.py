"""Forwarding is off on a node whose rules forward.

Kernel: none.

What it does: Finds net.ipv4.ip_forward=0 on a node whose nat table sends packets elsewhere with
DNAT, or whose FORWARD chain accepts some.

Why it matters: A packet that is for no address of the node is dropped before FORWARD: published
ports and Services do not work from outside.

Example:
    # sysctl_-a
    net.ipv4.ip_forward = 0
    # iptables-save_-c
    -A PREROUTING -p tcp --dport 80 -j DNAT --to-destination 172.17.0.2

Use instead: `sysctl -w net.ipv4.ip_forward=1`.

References: ip_route_input_slow in net/ipv4/route.c; ip-sysctl.rst of Linux, ip_forward.
"""

from __future__ import annotations

from collections.abc import Iterator

from netemu.lint.finding import Finding, Level
from netemu.lint.rule import LintRule, Needs
from netemu.lint.subject import Subject
from netemu.netfilter.hook import Family

_SWITCHES = {
    Family.IPV4: "net.ipv4.ip_forward",
    Family.IPV6: "net.ipv6.conf.all.forwarding",
}


def check(subject: Subject) -> Iterator[Finding]:
    """Yield a finding where rules need what a parameter forbids."""
    assert subject.node is not None
    for sibling in subject.siblings:
        switch = _SWITCHES[sibling.family]
        if sibling.node is not subject.node or subject.node.main.sysctls.get(switch) != "0":
            continue
        site = next(
            (
                site
                for site in sibling.sites
                if site.rule.target is not None
                and (
                    (site.chain.name == "FORWARD" and site.rule.target.name == "ACCEPT")
                    or (site.rule.target.name == "DNAT" and site.table.name == "nat")
                )
            ),
            None,
        )
        if site is not None:
            what = "sends packets elsewhere" if site.table.name == "nat" else "lets packets through"
            yield Finding(
                message=f"{switch} is 0, so that nothing is forwarded, and a rule {what}",
                related=sibling.related(site.rule),
            )


RULE = LintRule(
    code="NE401",
    name="forwarding-off",
    level=Level.WARNING,
    summary="Forwarding is off on a node whose rules forward",
    check=check,
    needs=Needs.NODE,
)
