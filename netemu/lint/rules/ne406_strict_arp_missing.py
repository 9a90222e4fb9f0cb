"""The node answers ARP for addresses of kube-ipvs0 on every device.

Kernel: none.

What it does: Finds nodes in kube-proxy's IPVS mode (a device kube-ipvs0 with addresses) without
arp_ignore=1 and arp_announce=2.

Why it matters: Every node claims every external and load-balancer address: MetalLB in layer 2 mode
and keepalived then lose it to whoever answers first.

Example:
    # ip_-j_addr_show
    kube-ipvs0 203.0.113.10/32
    # sysctl_-a
    net.ipv4.conf.all.arp_ignore = 0

Use instead: `strictARP: true` in kube-proxy's configuration, which sets arp_ignore=1 and
arp_announce=2.

References: ipvs/README.md of kube-proxy; ip-sysctl.rst of Linux, arp_ignore.
"""

from __future__ import annotations

from collections.abc import Iterator

from netemu.lint.finding import Finding, Level
from netemu.lint.rule import LintRule, Needs
from netemu.lint.subject import Subject

DEVICE = "kube-ipvs0"
WANTED = {"arp_ignore": "1", "arp_announce": "2"}


def check(subject: Subject) -> Iterator[Finding]:
    """Yield a finding where addresses of the dummy device are answered for elsewhere."""
    assert subject.node is not None
    main = subject.node.main
    if not any(address.device == DEVICE for address in main.addresses):
        return
    wrong = {
        name: value
        for name in WANTED
        if (value := main.sysctls.get(f"net.ipv4.conf.all.{name}")) not in {None, WANTED[name]}
    }
    if wrong:
        shown = ", ".join(f"{name} is {value}" for name, value in wrong.items())
        yield Finding(
            message=f"{shown}: the node answers ARP for the addresses of {DEVICE} on every device"
        )


RULE = LintRule(
    code="NE406",
    name="strict-arp-missing",
    level=Level.INFO,
    summary="The node answers ARP for addresses of kube-ipvs0 on every device",
    check=check,
    needs=Needs.NODE,
)
