"""A Service never sends to one of its endpoints.

Kernel: none.

What it does: Finds ready endpoints of a Service that its chain, or its virtual server in IPVS mode,
does not choose among.

Why it matters: The pod gets no connections, and the others get more; if it is the only one, the
Service is down.

Example:
    default/web:http never sends to its endpoint 10.244.2.6:8080 (pod default/web-3)

Use instead: A kube-proxy that follows the API server; restarting it writes all of its rules anew.

References: writeServiceToEndpointRules in pkg/proxy/iptables/proxier.go of Kubernetes.
"""

from __future__ import annotations

from collections.abc import Iterator

from netemu.lint.finding import Finding, Level
from netemu.lint.rule import LintRule, Needs
from netemu.lint.subject import Subject


def check(subject: Subject) -> Iterator[Finding]:
    """Look at what differs from the objects."""
    from netemu.lint.kube_objects import of_objects  # noqa: PLC0415 - loads Kubernetes' types

    yield from of_objects(subject, "NE321")


RULE = LintRule(
    code="NE321",
    name="missing-endpoint",
    level=Level.ERROR,
    summary="A Service never sends to one of its endpoints",
    check=check,
    needs=Needs.OBJECTS,
)
