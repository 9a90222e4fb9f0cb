"""A Service with endpoints is refused, or one without is not.

Kernel: none.

What it does: Compares the rules that reject or drop packets to Services without endpoints with the
objects.

Why it matters: A Service that is refused although it has endpoints is down; one without endpoints
that nobody refuses lets its clients wait until they time out.

Example:
    default/web:http is refused at ClusterIP 10.96.0.20:80/tcp, but has endpoints: 10.244.1.5:8080

Use instead: A REJECT for exactly the Services without endpoints.

References: syncProxyRules in pkg/proxy/iptables/proxier.go of Kubernetes (`has no endpoints`).
"""

from __future__ import annotations

from collections.abc import Iterator

from netemu.lint.finding import Finding, Level
from netemu.lint.rule import LintRule, Needs
from netemu.lint.subject import Subject


def check(subject: Subject) -> Iterator[Finding]:
    """Look at what differs from the objects."""
    from netemu.lint.kube_objects import of_objects  # noqa: PLC0415 - loads Kubernetes' types

    yield from of_objects(subject, "NE333")


RULE = LintRule(
    code="NE333",
    name="wrong-refusal",
    level=Level.ERROR,
    summary="A Service with endpoints is refused, or one without is not",
    check=check,
    needs=Needs.OBJECTS,
)
