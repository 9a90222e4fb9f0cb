"""Weighted overflow: the heaviest server until it has as many connections as its weight.

Kernel: net/netfilter/ipvs/ip_vs_ovf.c.
"""

from __future__ import annotations

from netemu.netfilter.ipvs.reasons import best_of, marked
from netemu.netfilter.ipvs.scheduler import Call, Scheduler
from netemu.netfilter.ipvs.service import RealServer


def ip_vs_ovf_schedule(call: Call) -> RealServer | None:
    """Return the heaviest server that has no more active connections than its weight."""
    chosen: RealServer | None = None
    highest = 0
    for server in call.service.destinations:
        weight = server.weight
        if server.overload or server.activeconns > weight or weight == 0:
            continue
        if chosen is None or weight > highest:
            chosen, highest = server, weight
    return chosen


def _figure(call: Call, server: RealServer) -> str:
    full = ", full" if server.activeconns > server.weight > 0 else ""
    return marked(f"{server.activeconns} active, weight {server.weight}{full}", server)


def _why(call: Call) -> str:
    chosen = ip_vs_ovf_schedule(call)
    if chosen is None:
        return "each that takes connections has more active ones than its weight"
    what = "the highest weight of those that are not full"
    return best_of(call, chosen, what, lambda server: (server.weight, 1))


OVF = Scheduler(
    name="ovf",
    kernel="ip_vs_ovf.c",
    duty="Takes the heaviest server whose active connections do not exceed its weight.",
    schedule=ip_vs_ovf_schedule,
    figure=_figure,
    why=_why,
)
