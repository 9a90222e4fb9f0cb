"""Locality-based least connections: an address that is asked keeps its server while it can.

Kernel: net/netfilter/ipvs/ip_vs_lblc.c.
"""

from __future__ import annotations

from msgspec import Struct

from netemu.net import Net
from netemu.netfilter.ipvs.locality import LocalityTable
from netemu.netfilter.ipvs.reasons import OVERLOADED, best_of, load_figure, overhead_by_weight
from netemu.netfilter.ipvs.scheduler import Call, Scheduler, is_overloaded, wlc_of
from netemu.netfilter.ipvs.service import RealServer, VirtualServer
from netemu.wire.address import format_address


class LblcEntry(Struct):
    """The server of one address (struct ip_vs_lblc_entry)."""

    server: RealServer
    lastuse: int
    """Jiffy."""

    def release(self) -> None:
        """Let go of the server."""
        self.server.holders -= 1


def _table(service: VirtualServer) -> LocalityTable[LblcEntry]:
    table = service.sched_data
    assert isinstance(table, LocalityTable)
    return table


def ip_vs_lblc_schedule(call: Call) -> RealServer | None:
    """Return the address's server, or the least loaded one, which becomes it."""
    service, address = call.service, call.header.daddr
    table = _table(service)
    now = call.net.clock.jiffies
    entry = table.get(address)
    if entry is not None:
        entry.lastuse = now
        server = entry.server
        if server.available and server.weight > 0 and not is_overloaded(server, service):
            return server
    chosen = wlc_of(service.destinations)
    if chosen is not None and (entry is None or entry.server is not chosen):
        table.forget(address)
        if table.has_room:
            chosen.holders += 1
            table.add(address, LblcEntry(chosen, now))
    return chosen


def _init(net: Net, service: VirtualServer) -> object:
    return LocalityTable[LblcEntry](net, "lblc")


def _why(call: Call) -> str:
    entry = _table(call.service).get(call.header.daddr)
    address = format_address(call.header.daddr)
    if entry is None:
        return f"nobody has {address} yet; {_least(call)}"
    server = entry.server
    if not server.available:
        return f"{server}, which has {address}, was removed; {_least(call)}"
    if server.weight <= 0:
        return f"{server}, which has {address}, has weight 0; {_least(call)}"
    if is_overloaded(server, call.service):
        return f"{server}, which has {address}, {OVERLOADED}; {_least(call)}"
    return f"it has {address}"


def _least(call: Call) -> str:
    what = "the least overhead / weight"
    return best_of(call, wlc_of(call.service.destinations), what, overhead_by_weight)


LBLC = Scheduler(
    name="lblc",
    kernel="ip_vs_lblc.c",
    duty="Takes the server that last had the destination address, else as wlc.",
    init_service=_init,
    done_service=lambda net, service: _table(service).flush(),
    schedule=ip_vs_lblc_schedule,
    figure=load_figure,
    why=_why,
)
