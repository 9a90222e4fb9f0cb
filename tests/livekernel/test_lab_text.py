"""Frames in canonical words: what is left out, and what is not."""

from __future__ import annotations

from netemu.livekernel.lab_text import LabText
from netemu.wire.ipv4 import build_ipv4
from netemu.wire.tcp import Flag, build_tcp

A, B = bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2])


def segment(seq: int, flags: int, *, ack: int = 0, payload: bytes = b"", ident: int = 0) -> bytes:
    """A segment from A to B."""
    body = build_tcp(
        src=A, dst=B, src_port=1, dst_port=2, seq=seq, ack=ack, flags=flags, payload=payload
    )
    packet = build_ipv4(src=A, dst=B, protocol=6, payload=body, identification=ident)
    return bytes(12) + b"\x08\x00" + bytes(packet)


def test_numbers_count_from_the_first_one_and_identifications_are_left_out() -> None:
    runs = []
    for isn, ident in ((1000, 7), (0xFFFFFFF0, 9)):
        text = LabText()
        runs.append(
            [
                text.frame(segment(isn, Flag.SYN, ident=ident)),
                text.frame(segment(isn + 20, Flag.ACK, ack=isn + 1, payload=b"x")),
            ]
        )
    assert runs[0] == runs[1]
    assert " seq 20 ack 1 " in runs[0][1]


def test_the_zero_of_a_reset_belongs_to_no_connection() -> None:
    """A first number a little below 2**32 once took it for its own (live kernel, 6.18)."""
    text = LabText()
    text.frame(segment(0x100000000 - 86835, Flag.SYN))
    assert " seq 0 " in text.frame(segment(0, Flag.RST | Flag.ACK, ack=1))


def test_other_values_count() -> None:
    text = LabText()
    plain = text.frame(segment(5, Flag.SYN))
    assert plain != text.frame(segment(5, Flag.SYN | Flag.ECE))
    assert plain != text.frame(segment(5, Flag.SYN, payload=b"x"))


def test_a_wrong_checksum_shows() -> None:
    frame = bytearray(segment(5, Flag.SYN))
    frame[-4] ^= 1
    assert LabText().frame(bytes(frame)).endswith("BAD SUM")
