"""Early segments and their SACK blocks, as Linux 6.18 told them for the same segments."""

from __future__ import annotations

from netemu.ip.tcp_ofo import OutOfOrder


def held(*segments: tuple[int, int]) -> OutOfOrder:
    early = OutOfOrder(sack=True)
    for seq, end_seq in segments:
        early.hold(seq, end_seq, fin=False)
    return early


def test_blocks_are_joined_the_latest_first() -> None:
    early = held((300, 400), (500, 600), (400, 500), (200, 250))
    assert early.told() == [(200, 250), (300, 600)]
    assert early.furthest() == 600
    assert early.drain(200) == (250, False)
    early.forget_before(250)
    assert early.told() == [(300, 600)]
    assert early.drain(300) == (600, False)
    early.forget_before(600)
    assert not early
    assert early.told() == []


def test_four_blocks_are_remembered() -> None:
    early = held(*((start, start + 1) for start in range(10, 60, 10)))
    assert early.told() == [(50, 51), (40, 41), (30, 31), (20, 21)]


def test_numbers_wrap() -> None:
    early = held((0xFFFFFFF0, 5))
    assert early.drain(0xFFFFFFF8) == (5, False)


def test_a_fin_waits_for_what_is_missing() -> None:
    early = OutOfOrder(sack=True)
    early.hold(10, 21, fin=True)
    assert early.drain(5) == (5, False)
    assert early.drain(10) == (21, True)


def test_what_is_held_already_is_told_first() -> None:
    """An early segment comes again, with less, with more, and overlapping."""
    early = held((100, 120), (100, 110))
    assert early.told() == [(100, 110), (100, 120)]
    assert early.told() == [(100, 120)]
    early.hold(100, 130, fin=False)
    assert early.told() == [(100, 120), (100, 130)]
    early.hold(125, 140, fin=False)
    assert early.told() == [(125, 130), (100, 140)]


def test_what_fills_a_gap_tells_what_it_repeats_as_far_as_it_was_held() -> None:
    early = held((22, 23))
    assert early.drain(41) == (41, False)
    early.forget_before(41)
    assert early.told() == [(22, 23)]


def test_without_sack_nothing_is_told() -> None:
    early = OutOfOrder(sack=False)
    early.hold(10, 20, fin=False)
    early.repeats(1, 5)
    assert early.told() == []
    assert early.furthest() is None
