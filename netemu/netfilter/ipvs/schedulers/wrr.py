"""Weighted round robin: heavier servers come around more often.

Kernel: net/netfilter/ipvs/ip_vs_wrr.c.

Theory of operation: a bar (`cw`) sinks from the highest weight to 1 in steps of the weights'
greatest common divisor. The walk through the list goes on where it stopped and takes each server
that reaches the bar; each time it passes the end of the list the bar sinks a step, and from the
lowest step it jumps back to the top.
"""

from __future__ import annotations

from math import gcd

from msgspec import Struct

from netemu.net import Net
from netemu.netfilter.ipvs.reasons import weight_figure
from netemu.netfilter.ipvs.scheduler import NO_DESTINATION, Call, Scheduler
from netemu.netfilter.ipvs.service import RealServer, VirtualServer


class _Mark(Struct):
    """Where the walk stands (struct ip_vs_wrr_mark)."""

    cl: RealServer | None
    """Server that was chosen last; None is the head of the list."""
    cw: int
    """The bar."""
    mw: int
    """Its highest place."""
    di: int
    """Its step."""


def _gcd_weight(service: VirtualServer) -> int:
    weights = (server.weight for server in service.destinations if server.weight > 0)
    return gcd(*weights) or 1


def _max_weight(service: VirtualServer) -> int:
    return max((server.weight for server in service.destinations), default=0)


def ip_vs_wrr_init_svc(net: Net, service: VirtualServer) -> object:
    """Start at the head with the bar at its highest."""
    di = _gcd_weight(service)
    mw = _max_weight(service) - (di - 1)
    return _Mark(cl=None, cw=mw, mw=mw, di=di)


def ip_vs_wrr_dest_changed(net: Net, service: VirtualServer, server: RealServer) -> None:
    """Go back to the head; keep the bar, as far as it still fits the weights."""
    mark = _mark(service)
    mark.cl = None
    mark.di = _gcd_weight(service)
    mark.mw = _max_weight(service) - (mark.di - 1)
    if mark.cw > mark.mw or not mark.cw:
        mark.cw = mark.mw
    elif mark.di > 1:
        mark.cw = (mark.cw // mark.di) * mark.di + 1


def ip_vs_wrr_schedule(call: Call) -> RealServer | None:
    """Return the next server that reaches the bar."""
    servers = call.service.destinations
    mark = _mark(call.service)
    if mark.mw == 0:
        return None
    last = current = mark.cl
    stop: RealServer | None = None
    last_pass = restarted = False
    while True:
        start = 0 if current is None else servers.index(current) + 1
        for server in servers[start:]:
            current = server
            if not server.overload and server.weight >= mark.cw:
                mark.cl = server
                return server
            if server is stop:
                mark.cl = server
                return None
        current = None
        mark.cw -= mark.di
        if mark.cw <= 0:
            mark.cw = mark.mw
            # Either all were asked for a weight of 1 by now, or the walk began at the head.
            if last_pass or last is None:
                mark.cl = None
                return None
            restarted = True
        last_pass = mark.cw <= mark.di
        if last_pass and restarted and last is not None:
            # Those behind the last one were asked for a weight of 1; now those up to it.
            stop = last


def _mark(service: VirtualServer) -> _Mark:
    assert isinstance(service.sched_data, _Mark)
    return service.sched_data


def _why(call: Call) -> str:
    mark = _mark(call.service)
    place = f"after {mark.cl}" if mark.cl is not None else "from the first on"
    return (
        f"the next in the list {place} that reaches the bar: {mark.cw} until the list's end, where "
        f"it sinks by {mark.di}, and from the lowest step back to {mark.mw}"
    )


def _no_server(call: Call) -> str:
    if _mark(call.service).mw == 0:
        return NO_DESTINATION
    return f"{NO_DESTINATION}: all destinations are overloaded"


WRR = Scheduler(
    name="wrr",
    kernel="ip_vs_wrr.c",
    duty="Takes one server after the other, the heavier ones more often.",
    init_service=ip_vs_wrr_init_svc,
    add_dest=ip_vs_wrr_dest_changed,
    del_dest=lambda net, service, server, position: ip_vs_wrr_dest_changed(net, service, server),
    upd_dest=ip_vs_wrr_dest_changed,
    schedule=ip_vs_wrr_schedule,
    figure=weight_figure,
    why=_why,
    no_server=_no_server,
)
