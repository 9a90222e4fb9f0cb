"""Round robin: one server after the other.

Kernel: net/netfilter/ipvs/ip_vs_rr.c.
"""

from __future__ import annotations

from msgspec import Struct

from netemu.net import Net
from netemu.netfilter.ipvs.reasons import weight_figure
from netemu.netfilter.ipvs.scheduler import Call, Scheduler, is_unavailable
from netemu.netfilter.ipvs.service import RealServer, VirtualServer


class _Place(Struct):
    """The server that was chosen last; None stands for the head of the list."""

    last: RealServer | None = None


def ip_vs_rr_schedule(call: Call) -> RealServer | None:
    """Return the next server after the last one that has a weight and is not overloaded."""
    place = _place(call.service)
    servers = call.service.destinations
    start = 0 if place.last is None else servers.index(place.last) + 1
    # The walk wraps past the head and may come back to the last server itself.
    for server in servers[start:] + servers[:start]:
        if not is_unavailable(server):
            place.last = server
            return server
    return None


def ip_vs_rr_del_dest(net: Net, service: VirtualServer, server: RealServer, position: int) -> None:
    """Step back to the server before one that goes."""
    place = _place(service)
    if place.last is server:
        place.last = service.destinations[position - 1] if position else None


def _place(service: VirtualServer) -> _Place:
    assert isinstance(service.sched_data, _Place)
    return service.sched_data


def _why(call: Call) -> str:
    last = _place(call.service).last
    if last is None:
        return "the first in the list; nobody had a connection yet"
    return f"the next in the list after {last}, which had the last one"


RR = Scheduler(
    name="rr",
    kernel="ip_vs_rr.c",
    duty="Takes one server after the other, newest first; a weight of 0 takes none.",
    init_service=lambda net, service: _Place(),
    del_dest=ip_vs_rr_del_dest,
    schedule=ip_vs_rr_schedule,
    figure=weight_figure,
    why=_why,
)
