"""loadBalancerSourceRanges are not kept.

Kernel: none.

What it does: Finds Services whose load balancer addresses are not guarded by their
loadBalancerSourceRanges, or by other ranges.

Why it matters: Clients come in that should not, or are dropped although they may.

Example:
    nothing drops what the source ranges of default/web-out:http keep out of load balancer IP
    198.51.100.80:80/tcp

Use instead: A KUBE-FW chain with the ranges, and a rule of KUBE-PROXY-FIREWALL that drops the rest.

References: syncProxyRules in pkg/proxy/iptables/proxier.go of Kubernetes.
"""

from __future__ import annotations

from collections.abc import Iterator

from netemu.lint.finding import Finding, Level
from netemu.lint.rule import LintRule, Needs
from netemu.lint.subject import Subject


def check(subject: Subject) -> Iterator[Finding]:
    """Look at what differs from the objects."""
    from netemu.lint.kube_objects import of_objects  # noqa: PLC0415 - loads Kubernetes' types

    yield from of_objects(subject, "NE332")


RULE = LintRule(
    code="NE332",
    name="wrong-source-ranges",
    level=Level.ERROR,
    summary="loadBalancerSourceRanges are not kept",
    check=check,
    needs=Needs.OBJECTS,
)
