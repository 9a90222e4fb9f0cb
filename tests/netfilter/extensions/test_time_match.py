"""xt_time: the simulated clock against dates, times and days."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from netemu.net import Net
from tests.netfilter.extensions.packets import match, packet, param

NOW = datetime(2026, 11, 23, 1, 30, 0, tzinfo=UTC)
"""A Monday."""


def at(words: str) -> bool:
    net = Net()
    net.clock.now_ns = int(NOW.timestamp()) * 1_000_000_000
    bound = match(f"-m time {words}")
    skb = packet(b"", 17)
    assert bound.describe(bound.settings, skb, param(skb, net)) == "Mon 2026-11-23 01:30:00"
    return bound.evaluate(bound.settings, skb, param(skb, net))


@pytest.mark.parametrize(
    "words, expected",
    [
        ("", True),
        ("--datestart 2026-11-23T01:30:00 --datestop 2026-11-23T01:30:00", True),
        ("--datestart 2026-11-23T01:30:01", False),
        ("--datestop 2026-11-23T01:29:59", False),
        ("--timestart 01:30 --timestop 02:00", True),
        ("--timestart 01:31 --timestop 02:00", False),
        ("--timestart 23:00 --timestop 02:00", True),
        ("--timestart 23:00 --timestop 01:29:59", False),
        ("--weekdays Mon", True),
        ("! --weekdays Mon", False),
        ("--monthdays 22,23", True),
        ("! --monthdays 22,23", False),
        ("--weekdays Sun --timestart 23:00 --timestop 02:00", False),
        ("--weekdays Sun --timestart 23:00 --timestop 02:00 --contiguous", True),
        ("--monthdays 22 --timestart 23:00 --timestop 02:00 --contiguous", True),
    ],
)
def test_evaluation(words, expected):
    assert at(words) is expected
