"""Early segments and their SACK blocks, as Linux 6.18 told them for the same segments."""

from __future__ import annotations

from netemu.ip.tcp_ofo import OutOfOrder, ReceiveQueue
from netemu.ip.tcp_ofo_tree import Held
from netemu.ip.tcp_window import Buffer, ReceiveWindow


def memory() -> ReceiveWindow:
    return ReceiveWindow(rcvbuf=131072, largest=33554432, window=64240, scale=None)


def early_one(seq: int, end_seq: int, room: int = 200, *, fin: bool = False) -> Held:
    return Held(seq, end_seq, Buffer(832, room), fin=fin)


def held(*segments: tuple[int, int]) -> OutOfOrder:
    early = OutOfOrder(memory(), sack=True)
    for seq, end_seq in segments:
        early.hold(early_one(seq, end_seq))
    return early


def drained(early: OutOfOrder, rcv_nxt: int) -> tuple[int, bool]:
    queue = ReceiveQueue(rcv_nxt)
    fin = early.drain(queue)
    early.forget_before(queue.end)
    return queue.end, fin


def test_blocks_are_joined_the_latest_first() -> None:
    early = held((300, 400), (500, 600), (400, 500), (200, 250))
    assert early.told() == [(200, 250), (300, 600)]
    assert early.furthest() == 600
    assert drained(early, 200) == (250, False)
    assert early.told() == [(300, 600)]
    assert drained(early, 300) == (600, False)
    assert not early
    assert early.told() == []


def test_four_blocks_are_remembered() -> None:
    early = held(*((start, start + 1) for start in range(10, 60, 10)))
    assert early.told() == [(50, 51), (40, 41), (30, 31), (20, 21)]


def test_numbers_wrap() -> None:
    assert drained(held((0xFFFFFFF0, 5)), 0xFFFFFFF8) == (5, False)


def test_a_fin_waits_for_what_is_missing() -> None:
    early = OutOfOrder(memory(), sack=True)
    early.hold(early_one(10, 21, fin=True))
    assert drained(early, 5) == (5, False)
    assert drained(early, 10) == (21, True)


def test_what_is_held_already_is_told_first() -> None:
    """An early segment comes again, with less, with more, and overlapping."""
    early = held((100, 120), (100, 110))
    assert early.told() == [(100, 110), (100, 120)]
    assert early.told() == [(100, 120)]
    early.hold(early_one(100, 130))
    assert early.told() == [(100, 120), (100, 130)]
    early.hold(early_one(125, 140))
    assert early.told() == [(125, 130), (100, 140)]


def test_what_fills_a_gap_tells_what_it_repeats_as_far_as_it_was_held() -> None:
    early = held((22, 23))
    assert drained(early, 41) == (41, False)
    assert early.told() == [(22, 23)]


def test_without_sack_nothing_is_told() -> None:
    early = OutOfOrder(memory(), sack=False)
    early.hold(early_one(10, 20))
    early.repeats(1, 5)
    assert early.told() == []
    assert early.furthest() is None


def test_data_join_the_buffer_before_them_while_it_has_room() -> None:
    """What does not fit is held by itself, so what it repeats is told apart."""
    early = OutOfOrder(memory(), sack=True)
    assert early.hold(early_one(100, 150, room=60))
    joining, crowded = early_one(150, 200), early_one(200, 250)
    assert early.hold(joining)
    assert joining.buffer.truesize == 0
    assert early.hold(crowded)
    assert crowded.buffer.truesize == 832
    assert not early.hold(early_one(210, 220))
