"""Weighted failover: the heaviest server that is there.

Kernel: net/netfilter/ipvs/ip_vs_fo.c.
"""

from __future__ import annotations

from netemu.netfilter.ipvs.reasons import best_of, weight_figure
from netemu.netfilter.ipvs.scheduler import Call, Scheduler
from netemu.netfilter.ipvs.service import RealServer


def ip_vs_fo_schedule(call: Call) -> RealServer | None:
    """Return the server with the highest weight, the first of equals."""
    heaviest: RealServer | None = None
    weight = 0
    for server in call.service.destinations:
        if not server.overload and server.weight > weight:
            heaviest, weight = server, server.weight
    return heaviest


FO = Scheduler(
    name="fo",
    kernel="ip_vs_fo.c",
    duty="Takes the server with the highest weight.",
    schedule=ip_vs_fo_schedule,
    figure=weight_figure,
    why=lambda call: best_of(
        call, ip_vs_fo_schedule(call), "the highest weight", lambda server: (server.weight, 1)
    ),
)
