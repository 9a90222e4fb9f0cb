"""Locality-based least connections with replication: an address has a set of servers.

Kernel: net/netfilter/ipvs/ip_vs_lblcr.c.
"""

from __future__ import annotations

from msgspec import Struct, field

from netemu.net import Net
from netemu.netfilter.ipvs.locality import LocalityTable
from netemu.netfilter.ipvs.reasons import OVERLOADED, best_of, load_figure, overhead_by_weight
from netemu.netfilter.ipvs.scheduler import NO_DESTINATION, Call, Scheduler, is_overloaded, wlc_of
from netemu.netfilter.ipvs.service import RealServer, VirtualServer
from netemu.wire.address import format_address


class LblcrEntry(Struct):
    """The servers of one address (struct ip_vs_lblcr_entry)."""

    lastuse: int
    lastmod: int = 0
    """Jiffies."""
    servers: list[RealServer] = field(default_factory=list)
    """Newest first."""

    def insert(self, server: RealServer, now: int) -> None:
        """Add a server that is not in the set (ip_vs_dest_set_insert)."""
        if server not in self.servers:
            server.holders += 1
            self.servers.insert(0, server)
            self.lastmod = now

    def erase(self, server: RealServer, now: int) -> None:
        """Take a server out (ip_vs_dest_set_erase)."""
        server.holders -= 1
        self.servers.remove(server)
        self.lastmod = now

    def release(self) -> None:
        """Let go of all servers."""
        for server in self.servers:
            server.holders -= 1

    def least(self) -> RealServer | None:
        """Return the least loaded server that is there (ip_vs_dest_set_min)."""
        return wlc_of([server for server in self.servers if server.available])

    def most(self) -> RealServer | None:
        """Return the most loaded server (ip_vs_dest_set_max)."""
        most: RealServer | None = None
        for server in self.servers:
            if server.weight > 0 and (
                most is None or most.overhead * server.weight < server.overhead * most.weight
            ):
                most = server
        return most


def _table(service: VirtualServer) -> LocalityTable[LblcrEntry]:
    table = service.sched_data
    assert isinstance(table, LocalityTable)
    return table


def ip_vs_lblcr_schedule(call: Call) -> RealServer | None:
    """Return the least loaded server of the address's set, which grows when that is overloaded."""
    service, address = call.service, call.header.daddr
    table = _table(service)
    now = call.net.clock.jiffies
    entry = table.get(address)
    if entry is not None:
        entry.lastuse = now
        server = entry.least()
        if len(entry.servers) > 1 and now > entry.lastmod + table.expiration:
            most = entry.most()
            if most is not None:
                entry.erase(most, now)
        if server is not None and not is_overloaded(server, service):
            return server
    chosen = wlc_of(service.destinations)
    if chosen is None:
        return None
    if entry is None and table.has_room:
        entry = LblcrEntry(lastuse=now)
        table.add(address, entry)
    if entry is not None:
        entry.insert(chosen, now)
    return chosen


def _init(net: Net, service: VirtualServer) -> object:
    return LocalityTable[LblcrEntry](net, "lblcr")


def _why(call: Call) -> str:
    entry = _table(call.service).get(call.header.daddr)
    address = format_address(call.header.daddr)
    if entry is None:
        return f"nobody has {address} yet; {_least(call)}"
    names = ", ".join(map(str, entry.servers))
    server = entry.least()
    if server is None:
        return f"none of those that have {address} ({names}) takes connections; {_least(call)}"
    if is_overloaded(server, call.service):
        return f"{server}, the least loaded of {names} for {address}, {OVERLOADED}; {_least(call)}"
    return f"the least loaded of those that have {address}: {names}"


def _least(call: Call) -> str:
    what = "the least overhead / weight of all"
    return best_of(call, wlc_of(call.service.destinations), what, overhead_by_weight)


def _no_server(call: Call) -> str:
    """Say nothing where nobody had the address: the kernel says that only when it debugs."""
    known = _table(call.service).get(call.header.daddr) is not None
    return NO_DESTINATION if known else ""


LBLCR = Scheduler(
    name="lblcr",
    kernel="ip_vs_lblcr.c",
    duty="Takes the least loaded of the servers that had the destination address, else as wlc.",
    init_service=_init,
    done_service=lambda net, service: _table(service).flush(),
    schedule=ip_vs_lblcr_schedule,
    figure=load_figure,
    why=_why,
    no_server=_no_server,
)
