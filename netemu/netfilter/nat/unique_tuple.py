"""Choosing a connection's new tuple.

Kernel: net/netfilter/nf_nat_core.c (get_unique_tuple and what it calls).

What matters is that no two connections have the same reply tuple: whoever answers must mean one
connection only. Within that, a client keeps its address and port where it can.
"""

from __future__ import annotations

from typing import Final

from netemu.hashing import jhash2, reciprocal_scale
from netemu.net import Net
from netemu.netfilter.conntrack.connection import (
    DEFAULT_ZONE,
    IPS_DYING,
    IPS_FIXED_TIMEOUT,
    IPS_HW_OFFLOAD,
    IPS_NAT_MASK,
    IPS_OFFLOAD,
    IPS_SEQ_ADJUST,
    IPS_SRC_NAT,
    ORIGINAL,
    Connection,
    Zone,
)
from netemu.netfilter.conntrack.core import nf_conntrack_tuple_taken, nf_ct_l4proto_find
from netemu.netfilter.conntrack.table import Conntrack, nf_ct_delete
from netemu.netfilter.conntrack.tcp import TcpState
from netemu.netfilter.conntrack.tuple import Tuple, inverse
from netemu.netfilter.nat.range import (
    MAP_IPS,
    PERSISTENT,
    PROTO_OFFSET,
    PROTO_RANDOM_ALL,
    PROTO_SPECIFIED,
    Manip,
    NatRange,
    l4proto_in_range,
    nf_in_range,
)
from netemu.wire.ipv4 import IPPROTO_GRE, IPPROTO_ICMP

MAX_ATTEMPTS: Final = 128
"""NF_NAT_MAX_ATTEMPTS."""

HARDER_THRESH: Final = MAX_ATTEMPTS // 4
"""So near the end a TIME_WAIT entry may be evicted (NF_NAT_HARDER_THRESH)."""


def get_unique_tuple(
    net: Net, connection: Connection, original: Tuple, range_: NatRange, manip: Manip
) -> Tuple:
    """Return a tuple within the range whose answers belong to nobody else, if there is one."""
    flags = range_.flags
    if manip == Manip.SRC and not flags & PROTO_RANDOM_ALL:
        if nf_in_range(original, range_):
            if not nf_nat_used_tuple_new(net, original, connection):
                return original
        else:
            known = find_appropriate_src(net, connection.zone, original, range_)
            if known is not None and not nf_nat_used_tuple(net, known, connection):
                return known
    new = find_best_ips_proto(connection.zone, original, range_, manip)
    if not flags & PROTO_RANDOM_ALL:
        if flags & PROTO_SPECIFIED:
            if (
                not flags & PROTO_OFFSET
                and l4proto_in_range(new, manip, range_.min_part, range_.max_part)
                and (
                    range_.min_part == range_.max_part
                    or not nf_nat_used_tuple(net, new, connection)
                )
            ):
                return new
        elif not nf_nat_used_tuple(net, new, connection):
            return new
    return nf_nat_l4proto_unique_tuple(net, new, range_, manip, connection)


def nf_nat_used_tuple(net: Net, tuple_: Tuple, connection: Connection) -> bool:
    """Return whether answers to `tuple_` would be taken for another connection's packets."""
    return nf_conntrack_tuple_taken(net, inverse(tuple_), connection)


def nf_nat_used_tuple_new(net: Net, tuple_: Tuple, connection: Connection) -> bool:
    """As nf_nat_used_tuple, for a tuple that NAT did not change.

    Where both ends begin at the same moment, the two entries are each other's reverse; that is
    left to clash resolution at confirm. 6.1 does not make this exception.
    """
    if not nf_nat_used_tuple(net, tuple_, connection):
        return False
    if net.kernel == "6.1" or not nf_ct_l4proto_find(net, tuple_.protocol).allow_clash:
        return True
    uses_nat = IPS_NAT_MASK | IPS_SEQ_ADJUST
    if connection.status & uses_nat:
        return True
    table = net.generic(Conntrack)
    found = table.find(tuple_, connection.zone) or table.find(inverse(tuple_), connection.zone)
    if found is None:
        return False
    return bool(found[0].status & uses_nat) or found[0].original != connection.reply


def nf_nat_used_tuple_harder(
    net: Net, tuple_: Tuple, connection: Connection, attempts_left: int
) -> bool:
    """As nf_nat_used_tuple, but near the end evict a finished TCP connection.

    Only one whose sequence numbers the new connection has passed, so that late packets of the old
    one are out of the new one's window. 6.1 does not do this.
    """
    reply = inverse(tuple_)
    tcp = connection.tcp
    if (
        attempts_left > HARDER_THRESH
        or net.kernel == "6.1"
        or tcp is None
        or tcp.state != TcpState.SYN_SENT
    ):
        return nf_conntrack_tuple_taken(net, reply, connection)
    found = net.generic(Conntrack).find(reply, connection.zone)
    if found is None:
        return False
    old, direction = found
    if direction == ORIGINAL or old.tcp is None or old.tcp.state < TcpState.TIME_WAIT:
        return True
    status = old.status
    if status & (IPS_FIXED_TIMEOUT | IPS_DYING) or not status & IPS_SRC_NAT:
        return True
    advance = (tcp.seen[0].td_end - old.tcp.seen[0].td_end) & 0xFFFFFFFF
    if not 0 < advance < 0x80000000:
        return True
    if nf_ct_delete(net, old, "port needed"):
        return bool(status & (IPS_OFFLOAD | IPS_HW_OFFLOAD))
    return True


def find_appropriate_src(net: Net, zone: Zone, tuple_: Tuple, range_: NatRange) -> Tuple | None:
    """Return the mapping that this source (address and port) has towards somebody else."""
    zone_id = zone.id if zone.directions == DEFAULT_ZONE.directions else 0
    key = (tuple_.src, tuple_.src_part, tuple_.protocol, zone_id)
    for connection in net.generic(Conntrack).by_source.get(key, ()):
        if connection.zone.id_in(ORIGINAL) != zone.id_in(ORIGINAL):
            continue
        mapped = inverse(connection.reply)
        result = mapped._replace(dst=tuple_.dst, dst_part=tuple_.dst_part)
        if nf_in_range(result, range_):
            return result
    return None


def find_best_ips_proto(zone: Zone, tuple_: Tuple, range_: NatRange, manip: Manip) -> Tuple:
    """Choose an address of the range: the same client and server always get the same one."""
    if not range_.flags & MAP_IPS:
        return tuple_
    low, high = range_.min_address, range_.max_address
    if low == high:
        chosen = low
    else:
        chosen = _hashed_address(zone, tuple_, low, high, bool(range_.flags & PERSISTENT))
    return tuple_._replace(dst=chosen) if manip else tuple_._replace(src=chosen)


def _hashed_address(
    zone: Zone,
    tuple_: Tuple,
    low: bytes,
    high: bytes,
    persistent: bool,  # noqa: FBT001
) -> bytes:
    """Spread clients over a range word by word.

    The kernel hashes the words as they lie in memory, so they are read little-endian here, as on
    every machine that netemu is checked against.
    """
    words = _words(tuple_.src, "little")
    hashed = words + [0] * (4 - len(words))
    destination = _words(tuple_.dst, "little")
    value = jhash2(hashed, 0 if persistent else destination[-1] ^ zone.id)
    chosen = b""
    full_range = False
    bounds = zip(_words(low, "big"), _words(high, "big"), strict=True)
    for index, (least, most) in enumerate(bounds):
        first = 0 if full_range else least
        distance = 0xFFFFFFFF if full_range else (most - least + 1) & 0xFFFFFFFF
        word = (first + reciprocal_scale(value, distance)) & 0xFFFFFFFF
        chosen += word.to_bytes(4, "big")
        if word != most:
            full_range = True
        if not persistent:
            value ^= destination[index]
    return chosen


def _words(address: bytes, order: str) -> list[int]:
    assert order in {"little", "big"}
    return [
        int.from_bytes(address[start : start + 4], "little" if order == "little" else "big")
        for start in range(0, len(address), 4)
    ]


def nf_nat_l4proto_unique_tuple(
    net: Net, tuple_: Tuple, range_: NatRange, manip: Manip, connection: Connection
) -> Tuple:
    """Try ports (or ids, or keys) until one is free; the last one tried if none is."""
    keys = _key_range(tuple_, range_, manip, connection)
    if keys is None:
        return tuple_
    low, size = keys
    by_source = manip == Manip.SRC or tuple_.protocol == IPPROTO_ICMP
    current = tuple_.src_part if by_source else tuple_.dst_part
    entropy = net.entropy.stream("nat")
    if range_.flags & PROTO_OFFSET:
        offset = (current - range_.base_part) & 0xFFFF
    elif range_.flags & PROTO_RANDOM_ALL or manip != Manip.DST or net.kernel == "6.1":
        offset = entropy.u16()
    else:
        offset = 0
    attempts = min(size, MAX_ATTEMPTS)
    candidate = tuple_
    while True:
        for attempt in range(attempts):
            key = (low + offset % size) & 0xFFFF
            candidate = (
                tuple_._replace(src_part=key) if by_source else tuple_._replace(dst_part=key)
            )
            if not nf_nat_used_tuple_harder(net, candidate, connection, attempts - attempt):
                return candidate
            offset = (offset + 1) & 0xFFFF
        if attempts >= size or attempts < 16:
            return candidate
        attempts //= 2
        offset = entropy.u16()


def _key_range(
    tuple_: Tuple, range_: NatRange, manip: Manip, connection: Connection
) -> tuple[int, int] | None:
    """Return lowest key and number of keys to try; None where nothing may change."""
    protocol = tuple_.protocol
    specified = bool(range_.flags & PROTO_SPECIFIED)
    if protocol == IPPROTO_ICMP:
        return (range_.min_part, range_.max_part - range_.min_part + 1) if specified else (0, 65536)
    if protocol == IPPROTO_GRE:
        # Only PPTP's GRE has a key that may change, and only a helper gives it a master.
        if connection.master is None:
            return None
        return (range_.min_part, range_.max_part - range_.min_part + 1) if specified else (1, 65535)
    if not tuple_.has_ports:
        return None
    if specified:
        low, high = sorted((range_.min_part, range_.max_part))
        return low, high - low + 1
    if manip == Manip.DST:
        return None
    # Privileged ports stay privileged, those of rsh stay among themselves.
    if tuple_.src_part < 512:
        return 1, 511
    if tuple_.src_part < 1024:
        return 600, 1023 - 600 + 1
    return 1024, 65535 - 1024 + 1
