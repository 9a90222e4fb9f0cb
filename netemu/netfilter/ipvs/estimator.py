"""Counters of connections, packets and octets, and the rates that are estimated from them.

Kernel: net/netfilter/ipvs/ip_vs_est.c, include/net/ip_vs.h (struct ip_vs_kstats).

Theory of operation: every 2 seconds the kernel takes the difference to the last counters and moves
each rate a quarter of the way to it. Here the rates catch up when they are next looked at or when
a counter moves, so that no timer runs.

Differs from Linux: the counters that ipvsadm --stats prints are the present ones; the kernel's are
up to 2 seconds old, since they are summed up by the estimator.
"""

from __future__ import annotations

from netemu.clock import Clock

PERIOD_S = 2
"""Seconds between two estimates."""

NAMES = ("conns", "inpkts", "outpkts", "inbytes", "outbytes")

_SCALE = (9, 9, 9, 4, 4)
"""Left shift of a difference: conns and packets are kept by 1024 a second, octets by 32."""

_ROUND = ((0x1FF, 10), (0x1FF, 10), (0x1FF, 10), (0xF, 5), (0xF, 5))
"""Rounding and right shift that make a printed rate of it (ip_vs_read_estimator)."""

_SETTLED = 200
"""After so many idle periods every rate is 0: each is below 2**63 and loses a quarter."""


class IpvsStats:
    """Counters and rates of one server or service (struct ip_vs_stats)."""

    __slots__ = ("_estimates", "_last", "_period", "counts")

    def __init__(self) -> None:
        """Start with nothing counted."""
        self.counts = [0, 0, 0, 0, 0]
        """In the order of NAMES."""
        self._last = [0, 0, 0, 0, 0]
        self._estimates = [0, 0, 0, 0, 0]
        self._period = 0

    def zero(self, clock: Clock) -> None:
        """Begin anew; what was counted since the last estimate stays (ip_vs_zero_stats)."""
        self._catch_up(clock)
        self.counts = [count - last for count, last in zip(self.counts, self._last, strict=True)]
        self._last = [0, 0, 0, 0, 0]
        self._estimates = [0, 0, 0, 0, 0]

    def count_connection(self, clock: Clock) -> None:
        """Count a new connection (ip_vs_conn_stats)."""
        self._catch_up(clock)
        self.counts[0] += 1

    def count_in(self, clock: Clock, octets: int) -> None:
        """Count a packet to the server (ip_vs_in_stats)."""
        self._catch_up(clock)
        self.counts[1] += 1
        self.counts[3] += octets

    def count_out(self, clock: Clock, octets: int) -> None:
        """Count a packet from the server (ip_vs_out_stats)."""
        self._catch_up(clock)
        self.counts[2] += 1
        self.counts[4] += octets

    def rates(self, clock: Clock) -> tuple[int, int, int, int, int]:
        """Return connections, packets in and out, octets in and out per second."""
        self._catch_up(clock)
        a, b, c, d, e = (
            (estimate + add) >> shift
            for estimate, (add, shift) in zip(self._estimates, _ROUND, strict=True)
        )
        return a, b, c, d, e

    def _catch_up(self, clock: Clock) -> None:
        """Do the estimates that fell due (estimation_timer)."""
        period = clock.jiffies // (PERIOD_S * clock.hz)
        missed = period - self._period
        if not missed:
            return
        self._period = period
        for _ in range(min(missed, _SETTLED)):
            for index, count in enumerate(self.counts):
                rate = (count - self._last[index]) << _SCALE[index]
                self._last[index] = count
                self._estimates[index] += (rate - self._estimates[index]) >> 2
