"""A Service's traffic policy is not kept.

Kernel: none.

What it does: Finds Services whose packets come to endpoints of other nodes although
externalTrafficPolicy or internalTrafficPolicy is Local, that are masqueraded although Local keeps
the client's address, or that stay on the node although the policy is Cluster.

Why it matters: With Local the pod is to see its client's address, and the load balancer counts on
nodes without endpoints to refuse.

Example:
    default/web-local:http sends external traffic to endpoints of all nodes, although its
    externalTrafficPolicy is Local

Use instead: KUBE-EXT chains as kube-proxy writes them for the policy.

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

    yield from of_objects(subject, "NE330")


RULE = LintRule(
    code="NE330",
    name="traffic-policy-ignored",
    level=Level.ERROR,
    summary="A Service's traffic policy is not kept",
    check=check,
    needs=Needs.OBJECTS,
)
