"""Weighted least connections, ipvsadm's default.

Kernel: net/netfilter/ipvs/ip_vs_wlc.c.
"""

from __future__ import annotations

from netemu.netfilter.ipvs.reasons import best_of, load_figure, overhead_by_weight
from netemu.netfilter.ipvs.scheduler import Scheduler, wlc_of

WLC = Scheduler(
    name="wlc",
    kernel="ip_vs_wlc.c",
    duty="Takes the server with the least (256 * active + inactive connections) / weight.",
    schedule=lambda call: wlc_of(call.service.destinations),
    figure=load_figure,
    why=lambda call: best_of(
        call, wlc_of(call.service.destinations), "the least overhead / weight", overhead_by_weight
    ),
)
