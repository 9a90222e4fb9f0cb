"""Maglev hashing: consistent, so that a change of servers moves few clients.

Kernel: net/netfilter/ipvs/ip_vs_mh.c; Eisenbud and others, Maglev (NSDI 2016).

Theory of operation: each server has a permutation of the table's slots, drawn by two hashes of its
address and port. In turn each takes the first free slots of its permutation, as many as its share
of the weights. A server whose weight became 0 keeps its slots (by its last weight), so that its
clients are refused and nobody else moves.
"""

from __future__ import annotations

from math import gcd

from msgspec import Struct

from netemu.hashing import hsiphash_1u32
from netemu.net import Net
from netemu.netfilter.ipvs.hashtable import ServerTable, fold_address
from netemu.netfilter.ipvs.reasons import place_reason, share_figure
from netemu.netfilter.ipvs.scheduler import Call, Scheduler, is_unavailable
from netemu.netfilter.ipvs.service import RealServer, ServiceFlag, VirtualServer
from netemu.wire.address import format_address

IP_VS_MH_TAB_SIZE = 4093
"""Prime number of slots (CONFIG_IP_VS_MH_TAB_INDEX 12)."""

IP_VS_MH_TAB_BITS = 6
"""Weights are scaled to about so many bits."""

HASH_1 = (2654435761, 2654435761)
HASH_2 = (2654446892, 2654446892)
"""Keys, the same on every machine (generate_hash_secret)."""


def ip_vs_mh_hashkey(address: bytes, port: int, key: tuple[int, int], offset: int = 0) -> int:
    """Hash an end."""
    return hsiphash_1u32((offset + port + fold_address(address)) & 0xFFFFFFFF, key)


class _Setup(Struct):
    """A server's permutation (struct ip_vs_mh_dest_setup)."""

    server: RealServer
    perm: int
    skip: int
    turns: int


def ip_vs_mh_reassign(net: Net, service: VirtualServer) -> None:
    """Fill the slots anew, unless nobody has or had a weight."""
    table = service.sched_data
    assert isinstance(table, ServerTable)
    divisor = gcd(*(server.last_weight for server in service.destinations))
    if divisor < 1:
        table.fill([])
        return
    heaviest = max(server.last_weight for server in service.destinations)
    shift = max((heaviest // divisor).bit_length() - IP_VS_MH_TAB_BITS, 0)
    table.fill(_populate([_permutation(s, divisor, shift) for s in service.destinations]))


def _permutation(server: RealServer, divisor: int, shift: int) -> _Setup:
    """Kernel: ip_vs_mh_permutate."""
    weight = server.last_weight
    offset = ip_vs_mh_hashkey(server.address, server.port, HASH_1) % IP_VS_MH_TAB_SIZE
    skip = ip_vs_mh_hashkey(server.address, server.port, HASH_2) % (IP_VS_MH_TAB_SIZE - 1) + 1
    turns = (weight // divisor >> shift) or int(weight != 0)
    return _Setup(server, offset, skip, turns)


def _populate(setups: list[_Setup]) -> list[RealServer]:
    """Kernel: ip_vs_mh_populate."""
    slots: list[RealServer | None] = [None] * IP_VS_MH_TAB_SIZE
    filled = 0
    while True:
        for setup in setups:
            for _ in range(setup.turns):
                slot = setup.perm
                while slots[slot] is not None:
                    slot = (slot + setup.skip) % IP_VS_MH_TAB_SIZE
                setup.perm = slot
                slots[slot] = setup.server
                filled += 1
                if filled == IP_VS_MH_TAB_SIZE:
                    return [server for server in slots if server is not None]


def _init(net: Net, service: VirtualServer) -> object:
    service.sched_data = ServerTable()
    ip_vs_mh_reassign(net, service)
    return service.sched_data


def _port(call: Call) -> int:
    return call.client_port() if call.service.flags & ServiceFlag.SCHED2 else 0


def _slot(call: Call, offset: int = 0) -> int:
    return ip_vs_mh_hashkey(call.header.client, _port(call), HASH_1, offset) % IP_VS_MH_TAB_SIZE


def ip_vs_mh_schedule(call: Call) -> RealServer | None:
    """Return the server of the client's slot; with mh-fallback another when it is away."""
    table = call.service.sched_data
    assert isinstance(table, ServerTable)
    first = _slot(call)
    server = table.get(first)
    if server is None:
        return None
    if not is_unavailable(server):
        return server
    if not call.service.flags & ServiceFlag.SCHED1:
        return None
    for offset in range(IP_VS_MH_TAB_SIZE):
        server = table.get(_slot(call, (offset + first) % IP_VS_MH_TAB_SIZE))
        if server is None:
            break
        if not is_unavailable(server):
            return server
    return None


def _why(call: Call) -> str:
    slot, port = _slot(call), _port(call)
    name = format_address(call.header.client) + (f":{port}" if port else "")
    place = f"{name} hashes to slot {slot} of {IP_VS_MH_TAB_SIZE}"
    return place_reason(call, place, slot, "mh-fallback")


MH = Scheduler(
    name="mh",
    kernel="ip_vs_mh.c",
    duty="Takes the server that Maglev hashing gives the client's address (with mh-port and port).",
    init_service=_init,
    done_service=lambda net, service: ServerTable.drop(service.sched_data),
    add_dest=lambda net, service, server: ip_vs_mh_reassign(net, service),
    del_dest=lambda net, service, server, position: ip_vs_mh_reassign(net, service),
    upd_dest=lambda net, service, server: ip_vs_mh_reassign(net, service),
    schedule=ip_vs_mh_schedule,
    figure=share_figure,
    why=_why,
    flags=("mh-fallback", "mh-port"),
)
