"""Shortest expected delay.

Kernel: net/netfilter/ipvs/ip_vs_sed.c.
"""

from __future__ import annotations

from netemu.netfilter.ipvs.reasons import best_of, expected_by_weight, expected_figure
from netemu.netfilter.ipvs.scheduler import Call, Scheduler
from netemu.netfilter.ipvs.service import RealServer


def ip_vs_sed_schedule(call: Call) -> RealServer | None:
    """Return the server with the least (active + 1) / weight, the first of equals."""
    least: RealServer | None = None
    for server in call.service.destinations:
        if server.overload:
            continue
        if least is None:
            if server.weight > 0:
                least = server
        elif (least.activeconns + 1) * server.weight > (server.activeconns + 1) * least.weight:
            least = server
    return least


SED = Scheduler(
    name="sed",
    kernel="ip_vs_sed.c",
    duty="Takes the server with the least (active connections + 1) / weight.",
    schedule=ip_vs_sed_schedule,
    figure=expected_figure,
    why=lambda call: best_of(
        call, ip_vs_sed_schedule(call), "the least (active + 1) / weight", expected_by_weight
    ),
)
