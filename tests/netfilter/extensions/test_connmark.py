"""The match connmark and the target CONNMARK."""

from __future__ import annotations

import pytest

from netemu.events import MarkChanged
from netemu.netfilter.conntrack.core import ConntrackHooks


@pytest.mark.parametrize(
    "options, expected",
    [
        ("--mark 0x4001", True),
        ("--mark 1/1", True),
        ("--mark 0/0xff00", False),
        ("! --mark 1/1", False),
        ("! --mark 5", True),
        ("--mark 0x4001/0xffff", True),
        ("--mark 3/1", False),
    ],
)
def test_connmark_match(bench, tracked, connection, options: str, expected: bool) -> None:
    assert bench.match(f"-m connmark {options}")(tracked(connection(mark=0x4001))) is expected


@pytest.mark.parametrize("inverted", ["", "! "])
def test_packet_without_connection_never_matches(bench, skb, inverted: str) -> None:
    assert not bench.match(f"-m connmark {inverted}--mark 0")(skb())


# options, ctmark and mark before, ctmark and mark after
EFFECTS = [
    ("--set-mark 5", 0xFF, 1, 5, 1),
    ("--set-mark 5/7", 0xFF, 1, 0xFD, 1),
    ("--set-xmark 5/0xf", 0xFF, 1, 0xF5, 1),
    ("--and-mark 0xf", 0xFF, 1, 0xF, 1),
    ("--or-mark 0x100", 0xFF, 1, 0x1FF, 1),
    ("--xor-mark 0xf", 0xFF, 1, 0xF0, 1),
    ("--save-mark", 0xFF, 0x12, 0x12, 0x12),
    ("--save-mark --mask 0xf", 0xFF, 0x12, 0xF2, 0x12),
    ("--save-mark --nfmask 0xf0 --ctmask 0xff00", 0xFFFF, 0x12, 0xEF, 0x12),
    ("--restore-mark", 0xFF, 0x1200, 0xFF, 0xFF),
    ("--restore-mark --mask 0xf", 0xFF, 0x1200, 0xFF, 0x120F),
    ("--restore-mark --nfmask 0xff00 --ctmask 0xf", 0xFF, 0x1234, 0xFF, 0x3B),
    ("--set-mark 5 --left-shift-mark 4", 0xFF, 1, 0x50, 1),
    ("--set-mark 0x80000001 --left-shift-mark 1", 0, 1, 2, 1),
    ("--set-xmark 0x50/0xff --right-shift-mark 4", 0, 1, 5, 1),
    ("--save-mark --left-shift-mark 8", 0, 0x12, 0x1200, 0x12),
    ("--restore-mark --right-shift-mark 8", 0x1200, 0, 0x1200, 0x12),
    ("--restore-mark --left-shift-mark 1 --right-shift-mark 2", 8, 0, 8, 2),
]


@pytest.mark.parametrize("options, ctmark, mark, ctmark_after, mark_after", EFFECTS)
def test_connmark_target(
    bench,
    tracked,
    connection,
    options: str,
    ctmark: int,
    mark: int,
    ctmark_after: int,
    mark_after: int,
) -> None:
    entry = connection(mark=ctmark)
    skb = tracked(entry)
    skb.mark = mark
    assert bench.target(f"-j CONNMARK {options}")(skb) is None
    assert (entry.mark, skb.mark) == (ctmark_after, mark_after)


@pytest.mark.parametrize("options", ["--set-mark 1", "--save-mark", "--restore-mark"])
def test_connmark_passes_over_packets_without_connection(bench, skb, options: str) -> None:
    packet = skb()
    packet.mark = 7
    assert bench.target(f"-j CONNMARK {options}")(packet) is None
    assert packet.mark == 7


def test_changes_are_told_and_only_changes(bench, tracked, connection) -> None:
    bench.listen()
    skb = tracked(connection(mark=1))
    bench.target("-j CONNMARK --set-mark 1")(skb)
    bench.target("-j CONNMARK --set-mark 2")(skb)
    bench.target("-j CONNMARK --restore-mark")(skb)
    assert bench.events == [
        MarkChanged(what="ctmark", before=1, after=2),
        MarkChanged(what="mark", before=0, after=2),
    ]


def test_rules_begin_tracking(bench) -> None:
    bench.rule("-m connmark --mark 1 -j CONNMARK --save-mark")
    assert bench.net.generic(ConntrackHooks).users == 2
