"""Simulated time: nanoseconds, jiffies and one timer heap.

Kernel: kernel/time/timer.c, net/core/dev.c (the backlog that netif_rx fills).

Theory of operation: `call_at` puts a timer on a heap ordered by (time, order of insertion), so
ties fire in the order in which they were made. `call_soon` is the softirq backlog: what it holds
runs, first in first out, before the next timer and before the next frame is injected. Nothing
here reads the machine's clock.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable

NSEC_PER_SEC = 1_000_000_000

INITIAL_JIFFIES = (1 << 32) - 300 * 250
"""The kernel starts jiffies five minutes before they wrap (include/linux/jiffies.h)."""

UPTIME_NS = 3600 * NSEC_PER_SEC
"""How long a node has been up when its clock starts, where nothing tells."""


class Timer:
    """One pending call; `cancel` is safe at any time."""

    __slots__ = ("function", "order", "when_ns")

    def __init__(self, when_ns: int, order: int, function: Callable[[], None]) -> None:
        """Built by `Clock.call_at`."""
        self.when_ns = when_ns
        self.order = order
        self.function: Callable[[], None] | None = function

    def __lt__(self, other: Timer) -> bool:
        """Order by time, then by insertion."""
        return (self.when_ns, self.order) < (other.when_ns, other.order)

    def cancel(self) -> None:
        """Make sure that the call never happens."""
        self.function = None


class Clock:
    """The one simulated clock of a run; many namespaces and nodes share it."""

    __slots__ = ("_heap", "_order", "_soon", "hz", "now_ns", "start_ns", "uptime_ns")

    def __init__(self, now_ns: int = 0, hz: int = 250) -> None:
        """Start at `now_ns` (since 1970) with `hz` jiffies a second."""
        self.now_ns = now_ns
        self.start_ns = now_ns
        self.hz = hz
        self.uptime_ns = UPTIME_NS
        self._heap: list[Timer] = []
        self._soon: deque[Callable[[], None]] = deque()
        self._order = 0

    @property
    def jiffies(self) -> int:
        """Jiffies since the clock's start, without the kernel's initial offset."""
        return (self.now_ns - self.start_ns) * self.hz // NSEC_PER_SEC

    @property
    def jiffies32(self) -> int:
        """The kernel's own jiffies, modulo 2^32: what it has counted since the node booted."""
        booted = self.uptime_ns * self.hz // NSEC_PER_SEC
        return (INITIAL_JIFFIES + booted + self.jiffies) & 0xFFFFFFFF

    def jiffies_to_ns(self, jiffies: int) -> int:
        """Length of `jiffies` in nanoseconds."""
        return jiffies * NSEC_PER_SEC // self.hz

    def call_at(self, when_ns: int, function: Callable[[], None]) -> Timer:
        """Call `function` once when the clock reaches `when_ns`."""
        self._order += 1
        timer = Timer(max(when_ns, self.now_ns), self._order, function)
        heapq.heappush(self._heap, timer)
        return timer

    def call_later(self, delay_ns: int, function: Callable[[], None]) -> Timer:
        """Call `function` once, `delay_ns` from now."""
        return self.call_at(self.now_ns + delay_ns, function)

    def call_soon(self, function: Callable[[], None]) -> None:
        """Queue `function` on the backlog: it runs at the present instant, in order."""
        self._soon.append(function)

    def run_soon(self) -> None:
        """Run the backlog until it is empty."""
        soon = self._soon
        while soon:
            soon.popleft()()

    def run_until(self, when_ns: int) -> None:
        """Fire every timer due up to and including `when_ns`, then stand at `when_ns`."""
        self.run_soon()
        heap = self._heap
        while heap and heap[0].when_ns <= when_ns:
            timer = heapq.heappop(heap)
            function = timer.function
            if function is None:
                continue
            self.now_ns = timer.when_ns
            timer.function = None
            function()
            self.run_soon()
        self.now_ns = max(self.now_ns, when_ns)

    def next_timer_ns(self) -> int | None:
        """Return the time of the earliest pending timer, or None when nothing is pending."""
        heap = self._heap
        while heap and heap[0].function is None:
            heapq.heappop(heap)
        return heap[0].when_ns if heap else None
