"""A Service answers at an address that it does not have.

Kernel: none.

What it does: Finds rules and virtual servers that lead from a NodePort, external IP, load balancer
address or former ClusterIP to a Service that does not have it.

Why it matters: The Service is open where nobody thinks it is: a NodePort that was taken back still
answers on every address of the node.

Example:
    default/web:http has no NodePort 30090/tcp, but a rule for it is there

Use instead: No such rule.

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

    yield from of_objects(subject, "NE329")


RULE = LintRule(
    code="NE329",
    name="stale-service-address",
    level=Level.WARNING,
    summary="A Service answers at an address that it does not have",
    check=check,
    needs=Needs.OBJECTS,
)
