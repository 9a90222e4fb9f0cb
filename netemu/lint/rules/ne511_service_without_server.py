"""A virtual server of IPVS without a real one.

Kernel: none.

What it does: Finds virtual servers in a snapshot's `ipvsadm -Sn` that have no real server.

Why it matters: Its clients get no answer; kube-proxy writes such a one for a Service without ready
endpoints, and rejects its traffic only with an IP set rule of its own.

Example:
    # ipvsadm_-Sn
    -A -t 10.96.0.20:80 -s rr
    -A -t 10.96.0.10:53 -s rr
    -a -t 10.96.0.10:53 -r 10.244.1.5:53 -m -w 1

Use instead: add a real server, or delete the virtual one.

References: ipvsadm(8); ip_vs_schedule in net/netfilter/ipvs/ip_vs_core.c.
"""

from __future__ import annotations

from collections.abc import Iterator

from netemu.lint.finding import Finding, Level
from netemu.lint.rule import LintRule, Needs
from netemu.lint.subject import Subject
from netemu.lint.virtual_servers import virtual_servers


def check(subject: Subject) -> Iterator[Finding]:
    """Yield a finding for each virtual server that nobody stands behind."""
    for one in virtual_servers(subject):
        if not one.weights:
            yield one.finding(f"virtual server {one.name} has no real server")


RULE = LintRule(
    code="NE511",
    name="service-without-server",
    level=Level.WARNING,
    summary="A virtual server of IPVS without a real one",
    check=check,
    needs=Needs.NODE,
)
