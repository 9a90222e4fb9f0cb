"""Making room in a full table: who is dropped early.

Kernel: net/netfilter/nf_conntrack_core.c (early_drop, early_drop_list, gc_worker).

Theory of operation: the kernel looks at 8 buckets of its hash table, from the newcomer's own on,
and in the first that holds an entry which was never assured it drops all of those. So in a table
with many more buckets than entries there is nearly always nothing to drop, and the newcomer's
packet is lost. The buckets here are as many as there (nf_conntrack_buckets); which one a tuple is
in hangs on a key drawn at boot there, and on the seed here.

Differs from Linux: what the kernel's gc worker drops in the background while the table is full
(entries that are not assured, closing TCP connections) is left to early drop alone.
"""

from __future__ import annotations

from typing import Final

from netemu.hashing import jhash2, reciprocal_scale
from netemu.net import Net
from netemu.netfilter.conntrack.connection import (
    IPS_ASSURED,
    IPS_DYING,
    ORIGINAL,
    REPLY,
    Connection,
)
from netemu.netfilter.conntrack.table import Conntrack, nf_ct_delete
from netemu.netfilter.conntrack.tuple import Tuple

EVICTION_RANGE: Final = 8
"""Buckets that early drop looks at (NF_CT_EVICTION_RANGE)."""

GC_SCAN_INTERVAL_MAX_S: Final = 60
"""So long after its end at the latest the gc worker has removed an entry."""


class Buckets:
    """In which bucket of the hash table each direction of an entry is; kept once there is need."""

    __slots__ = ("_chains", "_last_number", "_seed", "_size", "collected_at")

    def __init__(self, net: Net) -> None:
        """Start empty; found by `net.generic(Buckets)`."""
        self._seed = net.entropy.stream("conntrack").u32()
        self._size = net.sysctl.get("net.netfilter.nf_conntrack_buckets")
        self._chains: dict[int, list[Connection]] = {}
        self._last_number = 0
        self.collected_at = -1
        """Jiffy at which entries that ended long ago were last looked for."""

    def bucket_of(self, tuple_: Tuple, zone_id: int) -> int:
        """Return the bucket of a tuple (hash_conntrack)."""
        ends = tuple_.src + tuple_.dst
        words = [int.from_bytes(ends[at : at + 4], "big") for at in range(0, len(ends), 4)]
        words += [tuple_.src_part << 16 | tuple_.dst_part, tuple_.protocol << 16 | zone_id]
        return reciprocal_scale(jhash2(words, self._seed), self._size)

    def catch_up(self, table: Conntrack) -> None:
        """Sort the entries that came since the last time into their buckets."""
        for connection in table.younger_than(self._last_number):
            for direction in (ORIGINAL, REPLY):
                zone_id = connection.zone.id_in(direction)
                bucket = self.bucket_of(connection.tuple_of(direction), zone_id)
                self._chains.setdefault(bucket, []).append(connection)
        self._last_number = table.last_number

    def chain(self, bucket: int) -> list[Connection]:
        """Return the entries of a bucket, numbered round the table; dead ones are left behind."""
        bucket %= self._size
        alive = [entry for entry in self._chains.get(bucket, ()) if not entry.status & IPS_DYING]
        self._chains[bucket] = alive
        return alive


def early_drop(net: Net, table: Conntrack, newcomer: Tuple, zone_id: int) -> bool:
    """Drop entries that were never assured, to make room; False when none could be."""
    buckets = net.generic(Buckets)
    if _gc_made_room(net, table, buckets):
        return True
    buckets.catch_up(table)
    first = buckets.bucket_of(newcomer, zone_id)
    for bucket in range(first, first + EVICTION_RANGE):
        drops = 0
        for connection in buckets.chain(bucket):
            if table.expired(connection):
                nf_ct_delete(net, connection, "timeout")
            elif not connection.status & IPS_ASSURED:
                drops += nf_ct_delete(net, connection, "early drop")
        if drops:
            return True
    return False


def _gc_made_room(net: Net, table: Conntrack, buckets: Buckets) -> bool:
    """Remove what the gc worker has removed by now, looking once a second."""
    now, hz = net.clock.jiffies, net.clock.hz
    if 0 <= buckets.collected_at > now - hz:
        return False
    buckets.collected_at = now
    return table.collect(now - GC_SCAN_INTERVAL_MAX_S * hz) > 0
