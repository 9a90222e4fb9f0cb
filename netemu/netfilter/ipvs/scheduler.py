"""The shape of a scheduler, which chooses a real server for a new connection.

Kernel: include/net/ip_vs.h (struct ip_vs_scheduler), net/netfilter/ipvs/ip_vs_sched.c.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from netemu.net import Net
from netemu.netfilter.ipvs.header import IpvsHeader
from netemu.netfilter.ipvs.service import RealServer, VirtualServer
from netemu.skb import Skb


class Call(Struct):
    """One question: which server takes this packet?"""

    net: Net
    service: VirtualServer
    skb: Skb
    header: IpvsHeader

    def client_port(self) -> int:
        """Return the client's port, 0 when the packet is too short for one."""
        ports = self.header.ports(self.skb.data)
        return ports[0] if ports is not None else 0


ScheduleFunction = Callable[[Call], RealServer | None]
ChangeFunction = Callable[[Net, VirtualServer, RealServer], None]
DeleteFunction = Callable[[Net, VirtualServer, RealServer, int], None]
"""The number says where in the list the server stood; it has left it already."""
Figure = Callable[[Call, RealServer], str]


NO_DESTINATION = "no destination available"

PLAIN_FLAGS = ("flag-1", "flag-2", "flag-3")
"""What ipvsadm calls flags that mean nothing to a scheduler."""


class Scheduler(Struct, frozen=True, kw_only=True):
    """One scheduler's declaration (struct ip_vs_scheduler)."""

    name: str
    kernel: str
    """Its file below net/netfilter/ipvs/."""
    duty: str
    """What it does, in a sentence."""
    schedule: ScheduleFunction
    figure: Figure
    """What it looks at in each server, as text for traces."""
    why: Callable[[Call], str]
    """Why the server that it is about to choose, as text for traces; asked before `schedule`.

    Where nobody may take connections at all, `nobody_takes` has said so.
    """
    init_service: Callable[[Net, VirtualServer], object] | None = None
    """Returns what it will remember of a service (svc->sched_data)."""
    done_service: Callable[[Net, VirtualServer], None] | None = None
    add_dest: ChangeFunction | None = None
    del_dest: DeleteFunction | None = None
    upd_dest: ChangeFunction | None = None
    no_server: Callable[[Call], str] = lambda call: NO_DESTINATION
    """What the kernel log says when it chose none; empty where it says nothing."""
    flags: tuple[str, ...] = PLAIN_FLAGS
    """Names of IP_VS_SVC_F_SCHED1, 2 and 3 in ipvsadm -b; one without a name is not listed."""


def scheduler_of(service: VirtualServer) -> Scheduler | None:
    """Return the scheduler of a service; None where it has none."""
    found = service.scheduler
    assert found is None or isinstance(found, Scheduler)
    return found


def scheduler_name(service: VirtualServer) -> str:
    """Return its name, as ipvsadm prints it."""
    found = scheduler_of(service)
    return found.name if found is not None else "none"


def is_unavailable(server: RealServer) -> bool:
    """Return whether a server may take no new connection."""
    return server.weight <= 0 or server.overload


def wlc_of(servers: list[RealServer]) -> RealServer | None:
    """Return the server with the least overhead / weight; the first of equals.

    The kernel cross-multiplies, so a later server without weight never wins.
    """
    least: RealServer | None = None
    least_overhead = 0
    for server in servers:
        if server.overload:
            continue
        overhead = server.overhead
        if least is None:
            if server.weight > 0:
                least, least_overhead = server, overhead
        elif least_overhead * server.weight > overhead * least.weight:
            least, least_overhead = server, overhead
    return least


def is_overloaded(server: RealServer, service: VirtualServer) -> bool:
    """Return whether lblc and lblcr look for another server (their is_overloaded).

    So they do when it has more active connections than its weight and another has fewer than half.
    """
    return server.activeconns > server.weight and any(
        other.activeconns * 2 < other.weight for other in service.destinations
    )
