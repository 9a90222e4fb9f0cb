"""A rule that kube-proxy writes on every node is not there.

Kernel: none.

What it does: Finds jumps from base chains, and rules of KUBE-MARK-MASQ, KUBE-POSTROUTING,
KUBE-FORWARD and KUBE-SERVICES, that kube-proxy of this version writes and the node lacks; and nodes
without any.

Why it matters: Without the jumps no packet comes to a Service; without the others it comes there
and its answer does not come back.

Example:
    table nat: nothing leads from OUTPUT to KUBE-SERVICES

Use instead: What `netemu kube render --part complete` prints; kube-proxy restores it when its
canary chain is gone, or when it is restarted.

References: iptablesJumpChains in pkg/proxy/iptables/proxier.go of Kubernetes.
"""

from __future__ import annotations

from collections.abc import Iterator

from netemu.lint.finding import Finding, Level
from netemu.lint.rule import LintRule, Needs
from netemu.lint.subject import Subject


def check(subject: Subject) -> Iterator[Finding]:
    """Look at what differs from the objects."""
    from netemu.lint.kube_objects import of_objects  # noqa: PLC0415 - loads Kubernetes' types

    yield from of_objects(subject, "NE334")


RULE = LintRule(
    code="NE334",
    name="missing-proxy-rule",
    level=Level.ERROR,
    summary="A rule that kube-proxy writes on every node is not there",
    check=check,
    needs=Needs.OBJECTS,
)
