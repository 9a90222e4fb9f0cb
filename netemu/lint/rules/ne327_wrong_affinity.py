"""Clients stay with their endpoints longer or shorter than the Service says.

Kernel: none.

What it does: Compares sessionAffinity and its timeoutSeconds with the `recent` lists of the
Service's chains, or with the persistence of its virtual servers.

Why it matters: A client whose state is in one pod is sent to another one, or stays with one
although it should not.

Example:
    default/web-sticky keeps a client with its endpoint 300 s instead of 10800 s

Use instead: `--seconds` of sessionAffinityConfig.clientIP.timeoutSeconds, 10800 if nothing is said.

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

    yield from of_objects(subject, "NE327")


RULE = LintRule(
    code="NE327",
    name="wrong-affinity",
    level=Level.ERROR,
    summary="Clients stay with their endpoints longer or shorter than the Service says",
    check=check,
    needs=Needs.OBJECTS,
)
