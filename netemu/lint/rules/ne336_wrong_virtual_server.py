"""A virtual or real server of IPVS mode is set up otherwise.

Kernel: none.

What it does: Compares the scheduler of virtual servers, and weight and forwarding method of real
servers, with what kube-proxy sets.

Why it matters: A ready endpoint of weight 0 gets no connection; one that is not reached by
masquerading cannot have another port than the Service.

Example:
    default/web:http at ClusterIP 10.96.0.20:80/tcp has its ready endpoint 10.244.1.5:8080 at
    weight 0

Use instead: Weight 1, `-m`, and the scheduler of the configuration (rr if nothing is said).

References: syncService and syncEndpoint in pkg/proxy/ipvs/proxier.go of Kubernetes.
"""

from __future__ import annotations

from collections.abc import Iterator

from netemu.lint.finding import Finding, Level
from netemu.lint.rule import LintRule, Needs
from netemu.lint.subject import Subject


def check(subject: Subject) -> Iterator[Finding]:
    """Look at what differs from the objects."""
    from netemu.lint.kube_objects import of_objects  # noqa: PLC0415 - loads Kubernetes' types

    yield from of_objects(subject, "NE336")


RULE = LintRule(
    code="NE336",
    name="wrong-virtual-server",
    level=Level.ERROR,
    summary="A virtual or real server of IPVS mode is set up otherwise",
    check=check,
    needs=Needs.OBJECTS,
)
