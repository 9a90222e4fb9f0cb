"""NodePorts cannot work at 127.0.0.1.

Kernel: none.

What it does: Finds kube-proxy's NodePort rules that take packets to 127.0.0.1 on a node without
route_localnet.

Why it matters: A connection to 127.0.0.1:NODEPORT is translated, and then dropped as it leaves with
a loopback address: it hangs instead of being refused.

Example:
    # sysctl_-a
    net.ipv4.conf.all.route_localnet = 0
    # iptables-save_-c
    -A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS

Use instead: `iptables.localhostNodePorts: false` in kube-proxy's configuration (it then writes `!
-d 127.0.0.0/8`), or route_localnet=1 with a rule that guards it.

References: KEP-2438 of Kubernetes; ip_mkroute_output in net/ipv4/route.c.
"""

from __future__ import annotations

from collections.abc import Iterator

from netemu.lint.finding import Finding, Level
from netemu.lint.rule import LintRule, Needs
from netemu.lint.subject import Subject
from netemu.netfilter.hook import Family
from netemu.netfilter.xtables.model import Invert


def check(subject: Subject) -> Iterator[Finding]:
    """Yield a finding where the jump to the NodePorts takes loopback addresses."""
    assert subject.node is not None
    if subject.family is not Family.IPV4:
        return
    if subject.node.main.sysctls.get("net.ipv4.conf.all.route_localnet") != "0":
        return
    for site in subject.sites:
        if site.rule.jump != "KUBE-NODEPORTS" or site.table.name != "nat":
            continue
        generic = site.rule.generic
        if generic.destination[:1] == b"\x7f" and generic.invert & Invert.DSTIP:
            continue
        if site.table.chains["KUBE-NODEPORTS"].rules:
            yield subject.about(
                site,
                "NodePorts are translated at 127.0.0.1, too, and route_localnet is 0: such "
                "connections hang",
            )


RULE = LintRule(
    code="NE407",
    name="localhost-nodeport",
    level=Level.INFO,
    summary="NodePorts cannot work at 127.0.0.1",
    check=check,
    needs=Needs.NODE,
)
