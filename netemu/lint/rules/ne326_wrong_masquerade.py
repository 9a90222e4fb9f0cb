"""A Service masquerades too much or too little.

Kernel: none.

What it does: Finds Services whose chains do not mark for masquerading what kube-proxy would
(clients outside the pods' range at a ClusterIP, clients of NodePorts and load balancers), or mark
what should keep its address.

Why it matters: Without masquerading the endpoint's answer goes back another way and is thrown away;
with too much of it pods do not see their clients' addresses, and network policies see the node.

Example:
    default/web:http does not masquerade external traffic (externalTrafficPolicy Cluster)

Use instead: What clusterCIDR, masqueradeAll and the Service's traffic policies say.

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

    yield from of_objects(subject, "NE326")


RULE = LintRule(
    code="NE326",
    name="wrong-masquerade",
    level=Level.ERROR,
    summary="A Service masquerades too much or too little",
    check=check,
    needs=Needs.OBJECTS,
)
