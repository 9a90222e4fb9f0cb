"""Sequence numbers of a connection, and its receive window."""

from __future__ import annotations

from netemu.ip.tcp_sock import TcpSock, before


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
    here.rcv_nxt = 3
    assert here.receive_window() == 64240 - 5


def test_the_unscaled_window_reopens_after_a_segment() -> None:
    here = sock(0)
    here.rcv_nxt = 1000
    assert here.advertised_window() == 63240
    here.rcv_nxt = 1500
    assert here.advertised_window() == 64240
