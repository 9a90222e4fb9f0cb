"""When ACKs go, by the rules of net/ipv4/tcp_input.c and tcp_output.c; times in jiffies of 4 ms."""

from __future__ import annotations

from netemu.ip.tcp_acks import TCP_ATO_MIN, TCP_DELACK_MAX, Acks
from netemu.wire.tcp import Flag


def data(acks: Acks, now: int, size: int = 20) -> None:
    acks.scheduled = True
    acks.measure(size, 20, Flag.ACK, usual_len=20, mss=1460)
    acks.note_data(now, window=64240, rto=51)


def test_a_young_connection_acknowledges_sixteen_times_at_once() -> None:
    acks = Acks()
    data(acks, 100)
    assert (acks.quick, acks.ato) == (16, TCP_ATO_MIN)
    for left in range(15, -1, -1):
        acks.sent()
        assert acks.quick == left
        acks.scheduled = True


def test_an_ack_of_nothing_new_uses_none_up() -> None:
    acks = Acks(quick=3)
    acks.sent()
    assert acks.quick == 3


def test_the_delay_follows_the_pace_of_the_data() -> None:
    acks = Acks()
    data(acks, 100)
    data(acks, 108)
    assert acks.ato == 13
    data(acks, 109)
    assert acks.ato == 11
    acks.missed(51)
    assert acks.ato == 22
    assert acks.delay(None) == 22
    assert acks.delay(3) == TCP_ATO_MIN
    acks.ato = 100
    assert acks.delay(None) == TCP_DELACK_MAX


def test_long_silence_makes_it_quick_again() -> None:
    acks = Acks()
    data(acks, 100)
    acks.quick = 0
    data(acks, 152)
    assert acks.quick == 16


def test_the_peers_segment_size_is_guessed() -> None:
    acks = Acks()
    data(acks, 0, 1400)
    assert (acks.rcv_mss, acks.pushed) == (1400, 0)
    for _ in range(2):
        data(acks, 0, 700)
    assert acks.rcv_mss == 700
    data(acks, 0, 20)
    data(acks, 0, 20)
    assert acks.pushed == 2
