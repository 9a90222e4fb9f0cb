"""Nothing is there for a Service, or not for its ClusterIP in IPVS mode.

Kernel: none.

What it does: Finds Services with a ClusterIP for which the node has no rule or virtual server at
all.

Why it matters: Packets to the ClusterIP leave by the default route, and nobody answers.

Example:
    nothing is there for default/api (ClusterIP 10.96.0.30:80/tcp)

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

    yield from of_objects(subject, "NE322")


RULE = LintRule(
    code="NE322",
    name="missing-service",
    level=Level.ERROR,
    summary="Nothing is there for a Service, or not for its ClusterIP in IPVS mode",
    check=check,
    needs=Needs.OBJECTS,
)
