"""A Service's address leads to another chain than its own.

Kernel: none.

What it does: Finds rules for an address of a Service that jump elsewhere than kube-proxy would, and
a Service's external chain that does not lead to its endpoints.

Why it matters: Packets to the Service come to another one's endpoints, or to none.

Example:
    default/web:http at ClusterIP 10.96.0.20:80/tcp leads to KUBE-SVC-QB46YULHEBLQKAPY instead of
    KUBE-SVC-CDGGSHYLG3RE2FKL

Use instead: The chain that has the hash of the Service's name, port and protocol.

References: portProtoHash in pkg/proxy/iptables/proxier.go of Kubernetes.
"""

from __future__ import annotations

from collections.abc import Iterator

from netemu.lint.finding import Finding, Level
from netemu.lint.rule import LintRule, Needs
from netemu.lint.subject import Subject


def check(subject: Subject) -> Iterator[Finding]:
    """Look at what differs from the objects."""
    from netemu.lint.kube_objects import of_objects  # noqa: PLC0415 - loads Kubernetes' types

    yield from of_objects(subject, "NE324")


RULE = LintRule(
    code="NE324",
    name="wrong-service-chain",
    level=Level.ERROR,
    summary="A Service's address leads to another chain than its own",
    check=check,
    needs=Needs.OBJECTS,
)
