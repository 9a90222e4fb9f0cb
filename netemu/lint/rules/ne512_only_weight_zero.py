"""A virtual server of IPVS all of whose real servers have weight 0.

Kernel: none.

What it does: Finds virtual servers in a snapshot's `ipvsadm -Sn` whose real servers all have weight
0.

Why it matters: Weight 0 takes a server out of service for new connections: none is left.

Example:
    # ipvsadm_-Sn
    -A -t 10.96.0.20:80 -s rr
    -a -t 10.96.0.20:80 -r 10.244.1.5:8080 -m -w 0

Use instead: give one of them a weight, or delete the virtual server.

References: ipvsadm(8), --weight; kube-proxy sets weight 0 for endpoints that terminate gracefully.
"""

from __future__ import annotations

from collections.abc import Iterator

from netemu.lint.finding import Finding, Level
from netemu.lint.rule import LintRule, Needs
from netemu.lint.subject import Subject
from netemu.lint.virtual_servers import virtual_servers


def check(subject: Subject) -> Iterator[Finding]:
    """Yield a finding for each virtual server that takes no new connection."""
    for one in virtual_servers(subject):
        if one.weights and not any(one.weights):
            count = len(one.weights)
            servers = "its only real server has" if count == 1 else f"all {count} real servers have"
            yield one.finding(f"virtual server {one.name} takes no connection: {servers} weight 0")


RULE = LintRule(
    code="NE512",
    name="only-weight-zero",
    level=Level.WARNING,
    summary="A virtual server of IPVS all of whose real servers have weight 0",
    check=check,
    needs=Needs.NODE,
)
