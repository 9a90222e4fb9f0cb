"""A Service still sends to what is no ready endpoint.

Kernel: none.

What it does: Finds chains, and in IPVS mode real servers with a weight, that send a Service's
packets to an address that is none of its endpoints any more, or to one that is not ready or is
terminating while others are ready.

Why it matters: A share of the connections goes to a pod that is gone, and waits for an answer until
it times out; or to another pod that has got the address since.

Example:
    default/web:http sends to 10.244.1.7:8080, which is no endpoint of it

Use instead: The endpoints of the Service's EndpointSlices. kube-proxy on this node does not follow:
its log and its connection to the API server tell why.

References: CategorizeEndpoints in pkg/proxy/topology.go of Kubernetes.
"""

from __future__ import annotations

from collections.abc import Iterator

from netemu.lint.finding import Finding, Level
from netemu.lint.rule import LintRule, Needs
from netemu.lint.subject import Subject


def check(subject: Subject) -> Iterator[Finding]:
    """Look at what differs from the objects."""
    from netemu.lint.kube_objects import of_objects  # noqa: PLC0415 - loads Kubernetes' types

    yield from of_objects(subject, "NE320")


RULE = LintRule(
    code="NE320",
    name="stale-endpoint",
    level=Level.ERROR,
    summary="A Service still sends to what is no ready endpoint",
    check=check,
    needs=Needs.OBJECTS,
)
