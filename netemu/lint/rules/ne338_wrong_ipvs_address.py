"""kube-ipvs0 lacks a Service's address, or has another one.

Kernel: none.

What it does: Compares the addresses of the device kube-ipvs0 with those of the Services.

Why it matters: IPVS sees only what is delivered to the node itself: without the address packets are
routed away; with one too many the node swallows what is for somebody else.

Example:
    kube-ipvs0 lacks 10.96.0.22, the address of default/web-local:http

Use instead: What `netemu kube render --mode ipvs --part addresses` prints.

References: syncService in pkg/proxy/ipvs/proxier.go of Kubernetes.
"""

from __future__ import annotations

from collections.abc import Iterator

from netemu.lint.finding import Finding, Level
from netemu.lint.rule import LintRule, Needs
from netemu.lint.subject import Subject


def check(subject: Subject) -> Iterator[Finding]:
    """Look at what differs from the objects."""
    from netemu.lint.kube_objects import of_objects  # noqa: PLC0415 - loads Kubernetes' types

    yield from of_objects(subject, "NE338")


RULE = LintRule(
    code="NE338",
    name="wrong-ipvs-address",
    level=Level.ERROR,
    summary="kube-ipvs0 lacks a Service's address, or has another one",
    check=check,
    needs=Needs.OBJECTS,
)
