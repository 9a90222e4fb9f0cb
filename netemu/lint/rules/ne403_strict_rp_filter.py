"""Strict rp_filter where answers leave by another device.

Kernel: none.

What it does: Finds devices with rp_filter=1 over which a route to a network leads that another
route with a lower metric, by another device, hides.

Why it matters: Packets from that network that come in by this device are dropped: the kernel would
answer by the other.

Example:
    # sysctl_-a
    net.ipv4.conf.eth1.rp_filter = 1
    # ip_-j_route_show_table_all
    default via 192.0.2.254 dev eth0 metric 100
    default via 198.51.100.254 dev eth1 metric 200

Use instead: `sysctl -w net.ipv4.conf.eth1.rp_filter=2` (loose) and of `all`, or policy rules that
answer by the device that was asked.

References: RFC 3704; fib_validate_source in net/ipv4/fib_frontend.c.
"""

from __future__ import annotations

from collections.abc import Iterator

from netemu.lint.finding import Finding, Level
from netemu.lint.rule import LintRule, Needs
from netemu.lint.subject import Subject
from netemu.sim.spec import NamespaceSpec, RouteSpec
from netemu.wire.address import format_address


def check(subject: Subject) -> Iterator[Finding]:
    """Yield a finding for each route whose packets would be taken for spoofed."""
    assert subject.node is not None
    space = subject.node.main
    if space.policy_rules is not None and len(space.policy_rules) > 3:
        return
    best: dict[tuple[bytes, int], RouteSpec] = {}
    routes = [
        route
        for route in space.routes
        if route.table == 254 and route.kind == "unicast" and len(route.prefix) == 4
    ]
    for route in sorted(routes, key=lambda route: route.metric):
        key = (route.prefix, route.prefix_len)
        first = best.setdefault(key, route)
        used = {hop.device for hop in first.nexthops}
        for hop in route.nexthops:
            if hop.device not in used and _strictness(space, hop.device) == 1:
                network = f"{format_address(route.prefix)}/{route.prefix_len}"
                yield Finding(
                    message=f"{hop.device} drops what comes from {network}: rp_filter is 1 there, "
                    f"and answers leave by {', '.join(sorted(used))} (metric {first.metric} "
                    f"before {route.metric})"
                )


def _strictness(space: NamespaceSpec, device: str) -> int:
    """Return what holds for a device: the larger of its own value and that of `all`."""
    values = [
        int(space.sysctls.get(f"net.ipv4.conf.{name}.rp_filter", "0") or 0)
        for name in ("all", device.replace(".", "/"))
    ]
    return max(values)


RULE = LintRule(
    code="NE403",
    name="strict-rp-filter",
    level=Level.WARNING,
    summary="Strict rp_filter where answers leave by another device",
    check=check,
    needs=Needs.NODE,
)
