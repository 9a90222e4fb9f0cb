"""Weighted least connections, ipvsadm's default.

Kernel: net/netfilter/ipvs/ip_vs_wlc.c.
"""

from __future__ import annotations

from netemu.netfilter.ipvs.scheduler import Scheduler, load_figure, wlc_of

WLC = Scheduler(
    name="wlc",
    kernel="ip_vs_wlc.c",
    duty="Takes the server with the least (256 * active + inactive connections) / weight.",
    schedule=lambda call: wlc_of(call.service.destinations),
    figure=load_figure,
    why=lambda call: "the least overhead / weight, the first of equals",
)
