"""Never queue: an idle server first, else the shortest expected delay.

Kernel: net/netfilter/ipvs/ip_vs_nq.c.
"""

from __future__ import annotations

from netemu.netfilter.ipvs.reasons import best_of, expected_by_weight, expected_figure
from netemu.netfilter.ipvs.scheduler import Call, Scheduler
from netemu.netfilter.ipvs.service import RealServer


def ip_vs_nq_schedule(call: Call) -> RealServer | None:
    """Return the first idle server, else the one with the least (active + 1) / weight."""
    least: RealServer | None = None
    for server in call.service.destinations:
        if server.overload or not server.weight:
            continue
        if server.activeconns == 0:
            return server
        if least is None or (
            (least.activeconns + 1) * server.weight > (server.activeconns + 1) * least.weight
        ):
            least = server
    return least


def _why(call: Call) -> str:
    chosen = ip_vs_nq_schedule(call)
    if chosen is not None and not chosen.activeconns:
        return "the first without an active connection"
    what = "nobody is idle; the least (active + 1) / weight"
    return best_of(call, chosen, what, expected_by_weight)


NQ = Scheduler(
    name="nq",
    kernel="ip_vs_nq.c",
    duty="Takes an idle server, else the one with the least (active connections + 1) / weight.",
    schedule=ip_vs_nq_schedule,
    figure=expected_figure,
    why=_why,
)
