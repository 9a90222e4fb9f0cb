"""Kernel timers fire when the wheel of kernel/time/timer.c comes round.

How late 1 s is at HZ 250 was seen on Linux 6.18: two ARP requests, 0.1 ms apart, were repeated
together, the second first (tests/livekernel/found/arp-retries-in-wheel-order).
"""

from __future__ import annotations

import pytest

from netemu.clock import NSEC_PER_SEC, Clock

JIFFY_NS = NSEC_PER_SEC // 250


def fired_after(delay_jiffies: int, *, uptime_jiffies: int) -> int:
    """Return after how many jiffies a timer fires."""
    clock = Clock()
    clock.booted(uptime_jiffies * JIFFY_NS)
    fired: list[int] = []
    clock.add_timer(delay_jiffies * JIFFY_NS, lambda: fired.append(clock.now_ns))
    clock.run_until(2 * delay_jiffies * JIFFY_NS + NSEC_PER_SEC)
    return fired[0] // JIFFY_NS


@pytest.mark.parametrize(
    ("delay", "uptime", "fires"),
    [
        (10, 1000, 11),  # level 0: at the next jiffy, never early
        (62, 1000, 63),
        (63, 1000, 64),  # level 1: every 8th jiffy
        (250, 1000, 256),
        (250, 1005, 251),
        (250, 1006, 258),
        (503, 1000, 504),
        (504, 1024, 568),  # level 2: every 64th, not the one that is due now
        (1250, 1024, 1272),
        (1250, 1070, 1290),
    ],
)
def test_timers_fire_at_the_end_of_their_bucket(delay: int, uptime: int, fires: int) -> None:
    # INITIAL_JIFFIES is 8 more than a multiple of 64.
    assert fired_after(delay, uptime_jiffies=uptime) == fires


def test_the_last_of_a_bucket_fires_first() -> None:
    clock = Clock()
    clock.booted(1000 * JIFFY_NS)
    fired: list[str] = []
    clock.add_timer(250 * JIFFY_NS, lambda: fired.append("first"))
    clock.run_until(JIFFY_NS)
    clock.add_timer(250 * JIFFY_NS, lambda: fired.append("second"))
    clock.add_timer(250 * JIFFY_NS, lambda: fired.append("pinned"), pinned=True)
    clock.run_until(2 * NSEC_PER_SEC)
    assert fired == ["pinned", "second", "first"]


def test_an_idle_processors_timers_come_first() -> None:
    """Another one runs them; pinned ones wait for the processor itself."""
    clock = Clock()
    clock.booted(0)
    clock.idle = True
    fired: list[str] = []
    clock.add_timer(250 * JIFFY_NS, lambda: fired.append("pinned"), pinned=True)
    clock.add_timer(250 * JIFFY_NS, lambda: fired.append("migrated"))
    clock.run_until(2 * NSEC_PER_SEC)
    assert fired == ["migrated", "pinned"]


def test_without_an_uptime_timers_fire_when_due() -> None:
    clock = Clock()
    fired: list[int] = []
    clock.add_timer(NSEC_PER_SEC, lambda: fired.append(clock.now_ns))
    clock.run_until(2 * NSEC_PER_SEC)
    assert fired == [NSEC_PER_SEC]


def test_jiffies_count_from_the_start() -> None:
    clock = Clock()
    clock.booted(3 * JIFFY_NS - 1)
    assert clock.jiffies == 0
    clock.run_until(1)
    assert clock.jiffies == 1


def test_timers_of_one_jiffy_fire_before_the_backlog_runs() -> None:
    """TIMER_SOFTIRQ comes before NET_RX_SOFTIRQ (include/linux/interrupt.h)."""
    clock = Clock()
    clock.booted(1000 * JIFFY_NS)
    fired: list[str] = []
    clock.add_timer(250 * JIFFY_NS, lambda: fired.append("first"))
    clock.add_timer(250 * JIFFY_NS, lambda: clock.call_soon(lambda: fired.append("backlog")))
    clock.run_until(2 * NSEC_PER_SEC)
    assert fired == ["first", "backlog"]
