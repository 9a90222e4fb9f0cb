"""Sequence numbers of a connection."""

from __future__ import annotations

from netemu.ip.tcp_sock import TcpSock, before
from netemu.ip.tcp_window import ReceiveWindow


def sock(rcv_nxt: int) -> TcpSock:
    return TcpSock(
        local=bytes(4),
        remote=bytes(4),
        local_port=1,
        remote_port=2,
        isn=0,
        peer_isn=rcv_nxt - 1,
        rcv_nxt=rcv_nxt,
        rcv=ReceiveWindow(rcvbuf=131072, largest=33554432, window=64240, scale=None),
        mss=1460,
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
    here.queue.end = 3
    assert here.receive_window() == 64240 - 5


def test_the_window_is_closed_behind_its_edge() -> None:
    here = sock(0)
    here.queue.end = 64241
    assert here.receive_window() == 0
