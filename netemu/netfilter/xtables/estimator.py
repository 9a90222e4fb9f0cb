"""Rate estimators: what RATEEST rules count, as averages over time.

Kernel: net/core/gen_estimator.c (est_timer, gen_estimator_read), net/netfilter/xt_RATEEST.c
(xt_rateest_lookup).

Theory of operation: every interval the count of the past one goes into an exponentially weighted
moving average, in units of 1/256. Here no timer runs: what the intervals since the last look did
is made up for when the estimator is asked or counts; once the averages stand still, the rest of an
idle time is skipped.
"""

from __future__ import annotations

from netemu.net import Net

UNIT_SHIFT = 8
_SCALE = 10


class Estimator:
    """One estimator (struct xt_rateest with its net_rate_estimator)."""

    __slots__ = (
        "_avbps",
        "_avpps",
        "_last_octets",
        "_last_packets",
        "_net",
        "_next",
        "ewma_log",
        "interval",
        "octets",
        "packets",
    )

    def __init__(self, net: Net, interval: int, ewma_log: int) -> None:
        """Start at zero; `interval` is the binary logarithm of seconds."""
        self._net = net
        self.interval = interval
        self.ewma_log = ewma_log
        self.octets = 0
        self.packets = 0
        self._last_octets = 0
        self._last_packets = 0
        self._avbps = 0
        self._avpps = 0
        self._next = net.clock.jiffies + self._period

    @property
    def _period(self) -> int:
        """Jiffies of an interval."""
        return (self._net.clock.hz // 4) << (self.interval + 2)

    def count(self, octets: int) -> None:
        """Count a packet."""
        self._catch_up()
        self.octets += octets
        self.packets += 1

    def read(self) -> tuple[int, int]:
        """Return octets and packets a second (gen_estimator_read)."""
        self._catch_up()
        return self._avbps >> UNIT_SHIFT, self._avpps >> UNIT_SHIFT

    def _catch_up(self) -> None:
        """Do what the timer would have done until now (est_timer)."""
        now = self._net.clock.jiffies
        while self._next <= now:
            before = self._avbps, self._avpps
            counted = self.octets != self._last_octets or self.packets != self._last_packets
            self._avbps = self._moved(self._avbps, self.octets - self._last_octets)
            self._avpps = self._moved(self._avpps, self.packets - self._last_packets)
            self._last_octets, self._last_packets = self.octets, self.packets
            self._next += self._period
            if not counted and before == (self._avbps, self._avpps):
                self._next += (now - self._next) // self._period * self._period
                self._next += self._period if self._next <= now else 0

    def _moved(self, average: int, counted: int) -> int:
        rate = counted << (_SCALE - (self.interval + 2))
        return average + (rate >> self.ewma_log) - (average >> self.ewma_log)


class Estimators:
    """The estimators of one namespace, by name (struct xt_rateest_net)."""

    __slots__ = ("by_name",)

    def __init__(self, net: Net) -> None:
        """Start without any; found by `net.generic(Estimators)`."""
        self.by_name: dict[str, Estimator] = {}
