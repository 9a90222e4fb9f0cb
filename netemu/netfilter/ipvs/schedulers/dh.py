"""Destination hashing: the address that is asked decides.

Kernel: net/netfilter/ipvs/ip_vs_dh.c.
"""

from __future__ import annotations

from netemu.hashing import hash_32
from netemu.net import Net
from netemu.netfilter.ipvs.hashtable import ServerTable, fold_address
from netemu.netfilter.ipvs.reasons import place_reason, share_figure
from netemu.netfilter.ipvs.scheduler import Call, Scheduler, is_unavailable
from netemu.netfilter.ipvs.service import RealServer, VirtualServer
from netemu.wire.address import format_address

IP_VS_DH_TAB_BITS = 8
"""256 buckets (CONFIG_IP_VS_DH_TAB_BITS)."""


def ip_vs_dh_hashkey(address: bytes) -> int:
    """Return the bucket of an address."""
    return hash_32(fold_address(address), IP_VS_DH_TAB_BITS)


def ip_vs_dh_reassign(net: Net, service: VirtualServer) -> None:
    """Deal the buckets out to the servers, one after the other; weights do not count."""
    table = service.sched_data
    assert isinstance(table, ServerTable)
    servers = service.destinations
    size = 1 << IP_VS_DH_TAB_BITS
    table.fill([servers[bucket % len(servers)] for bucket in range(size)] if servers else [])


def _init(net: Net, service: VirtualServer) -> object:
    service.sched_data = ServerTable()
    ip_vs_dh_reassign(net, service)
    return service.sched_data


def ip_vs_dh_schedule(call: Call) -> RealServer | None:
    """Return the server of the bucket, if it may take a connection."""
    table = call.service.sched_data
    assert isinstance(table, ServerTable)
    server = table.get(ip_vs_dh_hashkey(call.header.daddr))
    if server is None or not server.available or is_unavailable(server):
        return None
    return server


def _why(call: Call) -> str:
    address = call.header.daddr
    place = f"{format_address(address)} hashes to bucket {ip_vs_dh_hashkey(address)} of 256"
    return place_reason(call, place, ip_vs_dh_hashkey(address))


DH = Scheduler(
    name="dh",
    kernel="ip_vs_dh.c",
    duty="Takes the server that the destination address hashes to.",
    init_service=_init,
    done_service=lambda net, service: ServerTable.drop(service.sched_data),
    add_dest=lambda net, service, server: ip_vs_dh_reassign(net, service),
    del_dest=lambda net, service, server, position: ip_vs_dh_reassign(net, service),
    schedule=ip_vs_dh_schedule,
    figure=share_figure,
    why=_why,
)
