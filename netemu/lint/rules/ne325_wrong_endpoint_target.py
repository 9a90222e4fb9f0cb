"""An endpoint's chain translates to another address.

Kernel: none.

What it does: Finds KUBE-SEP chains named for one endpoint of a Service that translate to another
address or port.

Why it matters: The endpoint that the chain is named for gets no connection, and whoever has the
other address gets them.

Example:
    default/web:http: the chain of endpoint 10.244.1.5:8080 translates to 10.9.9.9:8080

Use instead: `--to-destination` with the endpoint's own address and port.

References: servicePortEndpointChainName in pkg/proxy/iptables/proxier.go of Kubernetes.
"""

from __future__ import annotations

from collections.abc import Iterator

from netemu.lint.finding import Finding, Level
from netemu.lint.rule import LintRule, Needs
from netemu.lint.subject import Subject


def check(subject: Subject) -> Iterator[Finding]:
    """Look at what differs from the objects."""
    from netemu.lint.kube_objects import of_objects  # noqa: PLC0415 - loads Kubernetes' types

    yield from of_objects(subject, "NE325")


RULE = LintRule(
    code="NE325",
    name="wrong-endpoint-target",
    level=Level.ERROR,
    summary="An endpoint's chain translates to another address",
    check=check,
    needs=Needs.OBJECTS,
)
