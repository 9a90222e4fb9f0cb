"""Rules of a Service that is not there.

Kernel: none.

What it does: Finds rules and virtual servers for an address and port that no Service has, as the
objects are.

Why it matters: Packets to a former address still go to its pods; once the address is given to
another Service, they go to the wrong ones.

Example:
    there is no Service default/old, but rules for default/old:http are there

Use instead: No such rules. kube-proxy deletes them when it learns that the Service is gone.

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

    yield from of_objects(subject, "NE323")


RULE = LintRule(
    code="NE323",
    name="stale-service",
    level=Level.WARNING,
    summary="Rules of a Service that is not there",
    check=check,
    needs=Needs.OBJECTS,
)
