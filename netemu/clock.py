"""Simulated time: nanoseconds, jiffies and one timer heap.

Kernel: kernel/time/timer.c, net/core/dev.c (the backlog that netif_rx fills).

Theory of operation: `call_at` puts a timer on a heap ordered by (time, order of insertion), so
ties fire in the order in which they were made. `call_soon` is the softirq backlog: what it holds
runs, first in first out, before the next timer and before the next frame is injected. `add_timer`
makes a kernel timer: once `booted` has said how long the node has been up, such timers sit in the
buckets of the kernel's wheel, and those of one jiffy all fire before the backlog runs, as
TIMER_SOFTIRQ comes before NET_RX_SOFTIRQ. Nothing here reads the machine's clock.

Differs from Linux: timers (ARP requests, SYN/ACKs once more, fragments that time out) fire when
due; Linux fires them up to an eighth of their time later, as its uptime has it, which no snapshot
tells.
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

LVL_BITS, LVL_CLK_SHIFT, LVL_DEPTH = 6, 3, 9
"""The timer wheel: levels of 64 buckets, each eight times as coarse as the one below."""


class Timer:
    """One pending call; `cancel` is safe at any time."""

    __slots__ = ("function", "order", "when_ns")

    def __init__(self, when_ns: int, order: tuple[int, int], function: Callable[[], None]) -> None:
        """Built by `Clock.call_at` or `Clock.add_timer`."""
        self.when_ns = when_ns
        self.order = order
        """Which of one moment comes first."""
        self.function: Callable[[], None] | None = function

    def __lt__(self, other: Timer) -> bool:
        """Order by time, then as the clock says."""
        return (self.when_ns, self.order) < (other.when_ns, other.order)

    def in_one_softirq_with(self, other: Timer) -> bool:
        """Return whether both are kernel timers of one jiffy."""
        return self.when_ns == other.when_ns and min(self.order[0], other.order[0]) > 0

    def cancel(self) -> None:
        """Make sure that the call never happens."""
        self.function = None


class Clock:
    """The one simulated clock of a run; many namespaces and nodes share it."""

    __slots__ = (
        "_heap",
        "_order",
        "_soon",
        "_wheel",
        "hz",
        "idle",
        "now_ns",
        "start_ns",
        "uptime_ns",
    )

    def __init__(self, now_ns: int = 0, hz: int = 250) -> None:
        """Start at `now_ns` (since 1970) with `hz` jiffies a second."""
        self.now_ns = now_ns
        self.start_ns = now_ns
        self.hz = hz
        self.uptime_ns = UPTIME_NS
        self.idle = False
        """Another processor runs what is not pinned, and does so first (timer migration)."""
        self._wheel = False
        self._heap: list[Timer] = []
        self._soon: deque[Callable[[], None]] = deque()
        self._order = 0

    def booted(self, uptime_ns: int) -> None:
        """Say how long the node had been up when the clock started, as its jiffies count it."""
        self.uptime_ns = uptime_ns
        self._wheel = True

    @property
    def jiffies(self) -> int:
        """Jiffies since the clock's start, without the kernel's initial offset."""
        return self._booted - self.uptime_ns * self.hz // NSEC_PER_SEC

    @property
    def _booted(self) -> int:
        """Jiffies since the node booted."""
        return (self.uptime_ns + self.now_ns - self.start_ns) * self.hz // NSEC_PER_SEC

    @property
    def jiffies32(self) -> int:
        """The kernel's own jiffies, modulo 2^32: what it has counted since the node booted."""
        return (INITIAL_JIFFIES + self._booted) & 0xFFFFFFFF

    def jiffies_to_ns(self, jiffies: int) -> int:
        """Length of `jiffies` in nanoseconds."""
        return jiffies * NSEC_PER_SEC // self.hz

    def call_at(self, when_ns: int, function: Callable[[], None]) -> Timer:
        """Call `function` once when the clock reaches `when_ns`."""
        self._order += 1
        timer = Timer(max(when_ns, self.now_ns), (0, self._order), function)
        heapq.heappush(self._heap, timer)
        return timer

    def add_timer(
        self, delay_ns: int, function: Callable[[], None], *, pinned: bool = False
    ) -> Timer:
        """Call `function` as a kernel timer of `delay_ns` is called (calc_wheel_index).

        That is at the next jiffy at the soonest.

        Of one jiffy, pinned timers (TIMER_PINNED, the local base) come before others, coarse
        buckets before fine ones, and of one bucket the last made first.
        """
        if not self._wheel:
            return self.call_later(max(delay_ns, self.jiffies_to_ns(1)), function)
        delay = max(0, -(-delay_ns * self.hz // NSEC_PER_SEC))
        expires = INITIAL_JIFFIES + self._booted + delay
        level = 0
        while level < LVL_DEPTH - 1 and delay >= (1 << LVL_BITS) - 1 << level * LVL_CLK_SHIFT:
            level += 1
        shift = level * LVL_CLK_SHIFT
        bucket = ((expires >> shift) + 1) << shift
        when_ns = (bucket - INITIAL_JIFFIES) * NSEC_PER_SEC // self.hz
        self._order += 1
        order = LVL_DEPTH * (2 - (pinned != self.idle)) - level, -self._order
        timer = Timer(when_ns - self.uptime_ns + self.start_ns, order, function)
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
            if not (heap and timer.in_one_softirq_with(heap[0])):
                self.run_soon()
        self.now_ns = max(self.now_ns, when_ns)

    def next_timer_ns(self) -> int | None:
        """Return the time of the earliest pending timer, or None when nothing is pending."""
        heap = self._heap
        while heap and heap[0].function is None:
            heapq.heappop(heap)
        return heap[0].when_ns if heap else None
