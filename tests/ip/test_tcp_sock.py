"""Sequence numbers and ranges of a connection."""

from __future__ import annotations

from netemu.ip.tcp_sock import TcpSock, TcpState, before


def sock(rcv_nxt: int) -> TcpSock:
    return TcpSock(
        local=bytes(4),
        remote=bytes(4),
        local_port=1,
        remote_port=2,
        isn=0,
        peer_isn=rcv_nxt - 1,
        rcv_nxt=rcv_nxt,
        rcv_wup=rcv_nxt,
        window=64240,
        window_edge=(rcv_nxt + 64240) & 0xFFFFFFFF,
        mss=1460,
        window_scale=None,
        sack=True,
        ecn=False,
        timestamps=False,
        ts_offset=0,
        ts_recent=0,
        ip_id=0,
    )


def test_sequence_numbers_wrap() -> None:
    assert before(0xFFFFFFFF, 0)
    assert not before(0, 0xFFFFFFFF)
    here = sock(0xFFFFFFFE)
    assert here.take(0xFFFFFFFE, 3)
    assert here.rcv_nxt == 3


def test_early_ranges_are_merged_and_joined() -> None:
    here = sock(100)
    for start, end in ((300, 400), (500, 600), (400, 500), (200, 250)):
        assert here.take(start, end)
    assert here.out_of_order == [(200, 250), (300, 600)]
    assert here.take(100, 200)
    assert here.rcv_nxt == 250
    assert here.take(240, 310)
    assert (here.rcv_nxt, here.out_of_order) == (600, [])
    assert not here.take(100, 600)


def test_a_fin_ahead_of_the_stream_waits_for_it() -> None:
    here = sock(0)
    assert here.take(10, 21, fin=True)
    assert here.state == TcpState.SYN_RECV
    assert here.take(0, 10)
    assert (here.rcv_nxt, here.state) == (21, TcpState.CLOSE_WAIT)
    assert here.sack_blocks() == []


def test_the_unscaled_window_reopens_after_a_segment() -> None:
    here = sock(0)
    here.take(0, 1000)
    assert here.advertised_window() == 63240
    here.take(1000, 1500)
    assert here.advertised_window() == 64240
