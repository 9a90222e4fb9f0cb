"""The sending half of a connection, by the RFCs that define it."""

from __future__ import annotations

from netemu.ip.tcp_sender import Sender

MSEC = 1_000_000


def sender(**values: int) -> Sender:
    return Sender(
        una=1000, nxt=1000, window=values.get("window", 65535), mss=values.get("mss", 100)
    )


def send_all(out: Sender, now: int = 0) -> list[tuple[int, int, bool, bool]]:
    found = []
    while (piece := out.next_segment()) is not None:
        out.note_sent(piece, now)
        found.append((piece.seq, len(piece.payload), piece.push, piece.fin))
    return found


def test_data_is_cut_into_segments_and_pushed_at_its_end() -> None:
    out = sender()
    out.octets += bytes(250)
    assert send_all(out) == [
        (1000, 100, False, False),
        (1100, 100, False, False),
        (1200, 50, True, False),
    ]


def test_a_small_segment_waits_for_the_one_before() -> None:
    """Nagle's algorithm (RFC 896): one small segment is in flight at most, until the close."""
    out = sender()
    out.octets += b"first"
    assert send_all(out) == [(1000, 5, True, False)]
    out.octets += b"second"
    assert send_all(out) == []
    out.closing = True
    assert send_all(out) == [(1005, 6, True, True)]


def test_ten_segments_until_the_first_acknowledgement() -> None:
    """RFC 6928, then slow start of RFC 5681: two for each that is acknowledged."""
    out = sender()
    out.octets += bytes(5000)
    assert len(send_all(out)) == 10
    out.acknowledge(1200, 10 * MSEC)
    assert len(send_all(out)) == 4


def test_the_peers_window_is_kept() -> None:
    out = sender(window=250)
    out.octets += bytes(1000)
    assert [piece[1] for piece in send_all(out)] == [100, 100]


def test_silences_double() -> None:
    """The loss probe after the time out, then RFC 6298 section 5.5: asked of Linux 6.18."""
    out = sender()
    out.measure(1 * MSEC)
    out.octets += b"hello"
    send_all(out)
    waits = []
    for _ in range(5):
        waits.append(out.wait_ns() // MSEC)
        again = out.timeout()
        assert again is not None
        assert (again.seq, again.payload) == (1000, b"hello")
    assert waits == [201, 201, 402, 804, 1608]


def test_fifteen_repetitions_then_the_end() -> None:
    out = sender()
    out.octets += b"x"
    send_all(out)
    assert sum(out.timeout() is not None for _ in range(30)) == 15


def test_three_duplicates_prove_a_loss() -> None:
    """RFC 5681 section 3.2; partial acknowledgements send the next hole (RFC 6582)."""
    out = sender()
    out.octets += bytes(500)
    send_all(out)
    assert [out.duplicate() is not None for _ in range(4)] == [False, False, True, False]
    out.acknowledge(1100, MSEC)
    hole = out.next_hole()
    assert hole is not None
    assert hole.seq == 1100
    out.acknowledge(1500, MSEC)
    assert out.next_hole() is None


def test_the_fin_is_acknowledged() -> None:
    out = sender()
    out.octets += b"bye"
    out.closing = True
    assert send_all(out) == [(1000, 3, True, True)]
    assert not out.acknowledge(1003, MSEC)
    assert out.acknowledge(1004, MSEC)
    assert (out.una, out.octets) == (1004, b"")
