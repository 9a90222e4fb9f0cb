"""Addresses of 127.0.0.0/8 can be reached from outside.

Kernel: none.

What it does: Finds route_localnet=1 of a device (kube-proxy sets it for all) where no rule drops
packets to 127.0.0.0/8 that come from elsewhere.

Why it matters: A neighbour on the same network can send packets to 127.0.0.1 of the node, and reach
services that listen there only (CVE-2020-8558).

Example:
    # sysctl_-a
    net.ipv4.conf.all.route_localnet = 1
    # iptables-save_-c
    *filter
    :INPUT ACCEPT [0:0]
    COMMIT

Use instead: kubelet's rule in KUBE-FIREWALL, or `-A INPUT ! -i lo -d 127.0.0.0/8 -j DROP`.

References: CVE-2020-8558; ip_route_input_slow in net/ipv4/route.c.
"""

from __future__ import annotations

from collections.abc import Iterator

from netemu.lint.finding import Finding, Level
from netemu.lint.rule import LintRule, Needs
from netemu.lint.subject import Subject
from netemu.netfilter.hook import Family, Verdict
from netemu.netfilter.xtables.model import Invert

LOOPBACK = b"\x7f"


def check(subject: Subject) -> Iterator[Finding]:
    """Yield a finding where nothing stands before the loopback addresses."""
    assert subject.node is not None
    if subject.family is not Family.IPV4 or not subject.loads or _guarded(subject):
        return
    sysctls = subject.node.main.sysctls
    names = [link.name for link in subject.node.main.links if link.kind != "loopback"]
    on = [
        name
        for name in ("all", *names)
        if sysctls.get(f"net.ipv4.conf.{name.replace('.', '/')}.route_localnet") == "1"
    ]
    if on:
        where = "every device" if on[0] == "all" else f"device {', '.join(on)}"
        yield Finding(
            message=f"route_localnet is 1 for {where}, and no rule drops packets to 127.0.0.0/8 "
            "from outside: neighbours reach what listens on 127.0.0.1"
        )


def _guarded(subject: Subject) -> bool:
    """Return whether a rule that drops is about loopback addresses, or INPUT drops the rest."""
    table = subject.table("filter")
    chain = table.chains.get("INPUT") if table is not None else None
    if chain is not None and chain.policy is Verdict.DROP:
        return True
    for site in subject.sites:
        generic, target = site.rule.generic, site.rule.target
        if target is None or target.standard is not Verdict.DROP:
            continue
        if generic.destination[:1] == LOOPBACK and not generic.invert & Invert.DSTIP:
            return True
        if not generic.destination and not site.rule.matches and site.chain.name == "INPUT":
            return True
    return False


RULE = LintRule(
    code="NE404",
    name="localnet-exposed",
    level=Level.WARNING,
    summary="Addresses of 127.0.0.0/8 can be reached from outside",
    check=check,
    needs=Needs.NODE,
)
