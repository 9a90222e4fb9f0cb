"""A Service is there, but not at one of its addresses.

Kernel: none.

What it does: Finds ClusterIPs, NodePorts, external IPs, load balancer addresses and health check
ports of a Service without a rule or virtual server.

Why it matters: The Service answers at one address and not at another.

Example:
    default/web-out:http has no rule for its NodePort 30080/tcp

Use instead: A kube-proxy that follows the API server.

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

    yield from of_objects(subject, "NE328")


RULE = LintRule(
    code="NE328",
    name="missing-service-address",
    level=Level.ERROR,
    summary="A Service is there, but not at one of its addresses",
    check=check,
    needs=Needs.OBJECTS,
)
