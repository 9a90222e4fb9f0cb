"""Least connections.

Kernel: net/netfilter/ipvs/ip_vs_lc.c.
"""

from __future__ import annotations

from netemu.netfilter.ipvs.reasons import best_of, marked, overhead_text
from netemu.netfilter.ipvs.scheduler import Call, Scheduler
from netemu.netfilter.ipvs.service import RealServer


def ip_vs_lc_schedule(call: Call) -> RealServer | None:
    """Return the server with the least overhead, the first of equals; weights do not count."""
    least: RealServer | None = None
    for server in call.service.destinations:
        if server.overload or server.weight == 0:
            continue
        if least is None or server.overhead < least.overhead:
            least = server
    return least


LC = Scheduler(
    name="lc",
    kernel="ip_vs_lc.c",
    duty="Takes the server with the least 256 * active + inactive connections.",
    schedule=ip_vs_lc_schedule,
    figure=lambda call, server: marked(overhead_text(server), server),
    why=lambda call: best_of(
        call, ip_vs_lc_schedule(call), "the least overhead", lambda server: (server.overhead, 1)
    ),
)
