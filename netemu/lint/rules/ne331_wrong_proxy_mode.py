"""The node has what another mode of kube-proxy makes.

Kernel: none.

What it does: Compares the mode of kube-proxy's configuration with the chains, sets and devices of
the node.

Why it matters: What the former mode left behind goes on to take packets, by endpoints that nobody
updates.

Example:
    kube-proxy is to run in ipvs mode, but the node has what iptables mode makes

Use instead: `kube-proxy --cleanup` (or a reboot) after the mode was changed.

References: CleanupLeftovers in pkg/proxy/iptables/proxier.go and pkg/proxy/ipvs/proxier.go of
Kubernetes.
"""

from __future__ import annotations

from collections.abc import Iterator

from netemu.lint.finding import Finding, Level
from netemu.lint.rule import LintRule, Needs
from netemu.lint.subject import Subject


def check(subject: Subject) -> Iterator[Finding]:
    """Look at what differs from the objects."""
    from netemu.lint.kube_objects import of_objects  # noqa: PLC0415 - loads Kubernetes' types

    yield from of_objects(subject, "NE331")


RULE = LintRule(
    code="NE331",
    name="wrong-proxy-mode",
    level=Level.ERROR,
    summary="The node has what another mode of kube-proxy makes",
    check=check,
    needs=Needs.OBJECTS,
)
