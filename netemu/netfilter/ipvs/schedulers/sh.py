"""Source hashing: the client's address decides.

Kernel: net/netfilter/ipvs/ip_vs_sh.c.
"""

from __future__ import annotations

from netemu.hashing import hash_32
from netemu.net import Net
from netemu.netfilter.ipvs.hashtable import ServerTable, fold_address
from netemu.netfilter.ipvs.reasons import place_reason, share_figure
from netemu.netfilter.ipvs.scheduler import Call, Scheduler, is_unavailable
from netemu.netfilter.ipvs.service import RealServer, ServiceFlag, VirtualServer
from netemu.wire.address import format_address

IP_VS_SH_TAB_BITS = 8
"""256 buckets (CONFIG_IP_VS_SH_TAB_BITS)."""

SIZE = 1 << IP_VS_SH_TAB_BITS


def ip_vs_sh_hashkey(address: bytes, port: int, offset: int) -> int:
    """Return the bucket of a client."""
    key = (port + fold_address(address)) & 0xFFFFFFFF
    return (offset + hash_32(key, IP_VS_SH_TAB_BITS)) & (SIZE - 1)


def ip_vs_sh_reassign(net: Net, service: VirtualServer) -> None:
    """Deal the buckets out, to each server as many in a row as its weight, at least one."""
    table = service.sched_data
    assert isinstance(table, ServerTable)
    buckets: list[RealServer] = []
    while service.destinations and len(buckets) < SIZE:
        for server in service.destinations:
            buckets += [server] * max(server.weight, 1)
            if len(buckets) >= SIZE:
                break
    table.fill(buckets[:SIZE])


def _init(net: Net, service: VirtualServer) -> object:
    service.sched_data = ServerTable()
    ip_vs_sh_reassign(net, service)
    return service.sched_data


def _port(call: Call) -> int:
    return call.client_port() if call.service.flags & ServiceFlag.SCHED2 else 0


def ip_vs_sh_schedule(call: Call) -> RealServer | None:
    """Return the server of the client's bucket; with sh-fallback another when it is away."""
    table = call.service.sched_data
    assert isinstance(table, ServerTable)
    client, port = call.header.client, _port(call)
    first = ip_vs_sh_hashkey(client, port, 0)
    server = table.get(first)
    if server is None:
        return None
    if not is_unavailable(server):
        return server
    if not call.service.flags & ServiceFlag.SCHED1:
        return None
    for offset in range(SIZE):
        server = table.get(ip_vs_sh_hashkey(client, port, (offset + first) % SIZE))
        if server is None:
            break
        if not is_unavailable(server):
            return server
    return None


def _why(call: Call) -> str:
    client, port = call.header.client, _port(call)
    bucket = ip_vs_sh_hashkey(client, port, 0)
    name = format_address(client) + (f":{port}" if port else "")
    return place_reason(call, f"{name} hashes to bucket {bucket} of {SIZE}", bucket, "sh-fallback")


SH = Scheduler(
    name="sh",
    kernel="ip_vs_sh.c",
    duty="Takes the server that the client's address (with sh-port and its port) hashes to.",
    init_service=_init,
    done_service=lambda net, service: ServerTable.drop(service.sched_data),
    add_dest=lambda net, service, server: ip_vs_sh_reassign(net, service),
    del_dest=lambda net, service, server, position: ip_vs_sh_reassign(net, service),
    upd_dest=lambda net, service, server: ip_vs_sh_reassign(net, service),
    schedule=ip_vs_sh_schedule,
    figure=share_figure,
    why=_why,
    flags=("sh-fallback", "sh-port"),
)
