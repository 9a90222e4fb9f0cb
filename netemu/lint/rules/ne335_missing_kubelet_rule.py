"""A rule that kubelet writes on every node is not there.

Kernel: none.

What it does: Finds rules of KUBE-FIREWALL and KUBE-MARK-DROP, and the jumps to them, that kubelet
of this version writes and the node lacks.

Why it matters: KUBE-FIREWALL keeps packets from outside away from 127.0.0.0/8, which kube-proxy's
route_localnet would let in.

Example:
    table filter: nothing leads from INPUT to KUBE-FIREWALL (kubelet's)

Use instead: kubelet restores its chains within a minute after its canary chain is gone.

References: syncIPTablesRules in pkg/kubelet/kubelet_network_linux.go of Kubernetes.
"""

from __future__ import annotations

from collections.abc import Iterator

from netemu.lint.finding import Finding, Level
from netemu.lint.rule import LintRule, Needs
from netemu.lint.subject import Subject


def check(subject: Subject) -> Iterator[Finding]:
    """Look at what differs from the objects."""
    from netemu.lint.kube_objects import of_objects  # noqa: PLC0415 - loads Kubernetes' types

    yield from of_objects(subject, "NE335")


RULE = LintRule(
    code="NE335",
    name="missing-kubelet-rule",
    level=Level.WARNING,
    summary="A rule that kubelet writes on every node is not there",
    check=check,
    needs=Needs.OBJECTS,
)
