"""Bridged packets do not meet the rules that change Services' addresses.

Kernel: none.

What it does: Finds net.bridge.bridge-nf-call-iptables=0 on a node with kube-proxy's or another
program's DNAT rules and a bridge with ports.

Why it matters: A pod that reaches another pod of its own bridge by a Service gets the answer from
the other pod's address: the answer is bridged and never translated back. The connection hangs, and
only between pods of one node.

Example:
    # sysctl_-a
    net.bridge.bridge-nf-call-iptables = 0
    # iptables-save_-c
    -A KUBE-SEP-AFGSLHOD2HFNCBX4 -p tcp -m tcp -j DNAT --to-destination 10.244.1.5:8080

Use instead: `modprobe br_netfilter`, `sysctl -w net.bridge.bridge-nf-call-iptables=1`.

References: br_nf_pre_routing in net/bridge/br_netfilter_hooks.c; "Letting iptables see bridged
traffic" of Kubernetes' documentation.
"""

from __future__ import annotations

from collections.abc import Iterator

from netemu.lint.finding import Finding, Level
from netemu.lint.rule import LintRule, Needs
from netemu.lint.subject import Subject
from netemu.netfilter.xtables.kit import Settings
from netemu.sim.spec import NodeSpec

SWITCH = "net.bridge.bridge-nf-call-iptables"


def check(subject: Subject) -> Iterator[Finding]:
    """Yield a finding where translated packets come back over a bridge."""
    node = subject.node
    assert node is not None
    if node.main.sysctls.get(SWITCH) != "0":
        return
    for bridge in _bridges(node):
        for site in subject.sites:
            target = site.rule.target
            if target is None or target.name != "DNAT" or site.table.name != "nat":
                continue
            settings = target.given
            if not isinstance(settings, Settings) or "to-destination" not in settings:
                continue
            yield Finding(
                message=f"{SWITCH} is 0: what ports of {bridge} say to each other is not "
                "translated back, so Services do not work between them",
                related=subject.related(site.rule, "translates"),
            )
            return


def _bridges(node: NodeSpec) -> list[str]:
    """Return the bridges with two ports or more."""
    masters = [link.master for link in node.main.links if link.master]
    return [
        link.name
        for link in node.main.links
        if link.kind == "bridge"
        and masters.count(link.name) > 1
        and not link.bridge.get("nf_call_iptables")
    ]


RULE = LintRule(
    code="NE402",
    name="bridge-netfilter-off",
    level=Level.WARNING,
    summary="Bridged packets do not meet the rules that change Services' addresses",
    check=check,
    needs=Needs.NODE,
)
