"""A set of IPVS mode lacks an entry, or has one too many.

Kernel: none.

What it does: Compares the entries of kube-proxy's IP sets with the objects.

Why it matters: The sets decide what is masqueraded, let in and refused in IPVS mode; without its
entry a NodePort's clients get no answer.

Example:
    KUBE-NODE-PORT-TCP lacks 30080 of default/web-out:http

Use instead: What `netemu kube render --mode ipvs --part ipset` prints.

References: pkg/proxy/ipvs/ipset.go of Kubernetes.
"""

from __future__ import annotations

from collections.abc import Iterator

from netemu.lint.finding import Finding, Level
from netemu.lint.rule import LintRule, Needs
from netemu.lint.subject import Subject


def check(subject: Subject) -> Iterator[Finding]:
    """Look at what differs from the objects."""
    from netemu.lint.kube_objects import of_objects  # noqa: PLC0415 - loads Kubernetes' types

    yield from of_objects(subject, "NE337")


RULE = LintRule(
    code="NE337",
    name="wrong-set-entry",
    level=Level.ERROR,
    summary="A set of IPVS mode lacks an entry, or has one too many",
    check=check,
    needs=Needs.OBJECTS,
)
