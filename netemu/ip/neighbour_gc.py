"""Which neighbours are forgotten, and when the table is full.

Kernel: net/core/neighbour.c (neigh_alloc, neigh_forced_gc, neigh_periodic_work).

    entries  0 ......... gc_thresh1 ........ gc_thresh2 ........ gc_thresh3
             all stay     idle ones go,       more go at once,    no new one
                          every 15 s          every 5 s           unless some went

PERMANENT entries do not count and stay; one whose timer runs is in use and stays, too.
"""

from __future__ import annotations

from typing import Protocol

from netemu.clock import NSEC_PER_SEC, Timer
from netemu.ip.nud import IN_TIMER, Neighbour, Nud
from netemu.net import Net
from netemu.wire.address import ipv4_is_multicast

GC_THRESHOLDS = {"gc_thresh1": 128, "gc_thresh2": 512, "gc_thresh3": 1024}
"""net.ipv4.neigh.default.*: when collecting begins, when it is forced, and the limit (arp_tbl)."""

FORCED_GC_AGE_NS = 5 * NSEC_PER_SEC

MSEC_NS = 1_000_000


class Collected(Protocol):
    """The table, as its collector needs it."""

    def entries(self) -> list[Neighbour]:
        """Return every entry in order of creation."""

    def delete(self, entry: Neighbour) -> None:
        """Remove an entry and what waits in it."""


class NeighbourGc:
    """The collector of one table."""

    __slots__ = ("_last_flush_ns", "_net", "_table", "_timer")

    def __init__(self, net: Net, table: Collected) -> None:
        """Start with a table that has just been flushed."""
        self._net = net
        self._table = table
        self._last_flush_ns = net.clock.now_ns
        self._timer: Timer | None = None

    def make_room(self, size: int) -> bool:
        """Collect if one more entry is too much for a table of `size`; False when it stays so.

        This is the first part of neigh_alloc.
        """
        limit = self._threshold("gc_thresh3")
        middle = self._threshold("gc_thresh2")
        if size < min(limit, middle):
            return True
        count = sum(entry.state != Nud.PERMANENT for entry in self._table.entries())
        rested = self._net.clock.now_ns > self._last_flush_ns + FORCED_GC_AGE_NS
        if count < limit and not (count >= middle and rested):
            return True
        if self._forced(count + 1 - middle) or count < limit:
            return True
        self._net.log.append("neighbour: arp_cache: neighbor table overflow!")
        return False

    def watch(self, count: int) -> None:
        """Begin to collect once the table has gc_thresh1 entries."""
        if self._timer is None and count >= self._threshold("gc_thresh1"):
            clock = self._net.clock
            period_ns = self._net.sysctl.neigh("default", "base_reachable_time_ms") * MSEC_NS // 2
            passed = (clock.now_ns - clock.start_ns) // period_ns
            self._timer = clock.call_at(clock.start_ns + (passed + 1) * period_ns, self._periodic)

    def _forced(self, wanted: int) -> int:
        """Remove up to `wanted` entries that nobody minds; return how many went."""
        now = self._net.clock.now_ns
        removed = 0
        for entry in self._table.entries():
            if entry.state & (IN_TIMER | Nud.PERMANENT):
                continue
            useless = entry.state in {Nud.FAILED, Nud.NOARP}
            group = len(entry.address) == 4 and ipv4_is_multicast(entry.address)
            if useless or group or entry.updated_ns < now - FORCED_GC_AGE_NS:
                self._table.delete(entry)
                removed += 1
                if removed >= wanted:
                    break
        self._last_flush_ns = now
        return removed

    def _periodic(self) -> None:
        """Remove what nobody used for gc_stale_time (neigh_periodic_work)."""
        self._timer = None
        entries = self._table.entries()
        if len(entries) < self._threshold("gc_thresh1"):
            return
        for entry in entries:
            if not entry.state & (IN_TIMER | Nud.PERMANENT) and self._is_idle(entry):
                self._table.delete(entry)
        self.watch(len(self._table.entries()))

    def _is_idle(self, entry: Neighbour) -> bool:
        now = self._net.clock.now_ns
        if entry.used_ns < entry.confirmed_ns <= now:
            entry.used_ns = entry.confirmed_ns
        device = entry.device.name
        stale_ns = self._net.sysctl.neigh(device, "gc_stale_time") * NSEC_PER_SEC
        return entry.state == Nud.FAILED or now >= entry.used_ns + stale_ns

    def _threshold(self, name: str) -> int:
        text = self._net.sysctl.values.get(f"net.ipv4.neigh.default.{name}")
        return GC_THRESHOLDS[name] if text is None else int(text)
