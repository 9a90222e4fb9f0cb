"""What lblc and lblcr remember of destination addresses, and for how long.

Kernel: net/netfilter/ipvs/ip_vs_lblc.c (struct ip_vs_lblc_table), ip_vs_lblcr.c has the like.

Theory of operation: a timer looks in every minute. Each 30th time, beginning with the 30th, it
drops what was not used for `lblc_expiration` seconds (a day); at the others only what is six
minutes old, and only while there are more than 16384 entries.
"""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar

from netemu.clock import NSEC_PER_SEC, Timer
from netemu.net import Net

TAB_SIZE = 1024
MAX_SIZE = TAB_SIZE * 16
CHECK_EXPIRE_INTERVAL_S = 60
ENTRY_TIMEOUT_S = 6 * 60
COUNT_FOR_FULL_EXPIRATION = 30


class Entry(Protocol):
    """What is kept of an address."""

    lastuse: int

    def release(self) -> None:
        """Let go of its servers."""


Kept = TypeVar("Kept", bound=Entry)


class LocalityTable(Generic[Kept]):
    """Address -> entry, for one service."""

    __slots__ = ("_counter", "_entries", "_key", "_net", "_timer")

    def __init__(self, net: Net, scheduler: str) -> None:
        """Start empty; `scheduler` names the sysctl."""
        self._net = net
        self._key = f"net.ipv4.vs.{scheduler}_expiration"
        self._entries: dict[bytes, Kept] = {}
        self._counter = 1
        self._timer: Timer | None = None

    @property
    def expiration(self) -> int:
        """Jiffies that an entry lives unused."""
        return self._net.sysctl.get(self._key) * self._net.clock.hz

    @property
    def has_room(self) -> bool:
        """Whether another entry fits."""
        return len(self._entries) < MAX_SIZE * 3 // 2

    def get(self, address: bytes) -> Kept | None:
        """Return the entry of an address."""
        return self._entries.get(address)

    def add(self, address: bytes, entry: Kept) -> None:
        """Keep an entry; the first one starts the timer."""
        self._entries[address] = entry
        if self._timer is None:
            self._start()

    def forget(self, address: bytes) -> None:
        """Drop the entry of an address, if there is one."""
        entry = self._entries.pop(address, None)
        if entry is not None:
            entry.release()

    def flush(self) -> None:
        """Drop everything."""
        if self._timer is not None:
            self._timer.cancel()
        for address in list(self._entries):
            self.forget(address)

    def _start(self) -> None:
        delay = CHECK_EXPIRE_INTERVAL_S * NSEC_PER_SEC
        self._timer = self._net.clock.call_later(delay, self._check_expire)

    def _check_expire(self) -> None:
        """Kernel: ip_vs_lblc_check_expire."""
        clock = self._net.clock
        if self._counter % COUNT_FOR_FULL_EXPIRATION == 0:
            self._drop_older(clock.jiffies - self.expiration, len(self._entries))
            self._counter = 1
        elif len(self._entries) <= MAX_SIZE:
            self._counter += 1
        else:
            goal = min((len(self._entries) - MAX_SIZE) * 4 // 3, MAX_SIZE // 2)
            self._drop_older(clock.jiffies - ENTRY_TIMEOUT_S * clock.hz, goal)
        self._start()

    def _drop_older(self, jiffy: int, goal: int) -> None:
        """Drop up to `goal` entries that were not used since `jiffy`, oldest entry first."""
        old = [address for address, entry in self._entries.items() if entry.lastuse <= jiffy]
        for address in old[:goal]:
            self.forget(address)
