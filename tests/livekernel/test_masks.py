"""What is left out of a comparison, and what is not."""

from __future__ import annotations

from netemu.livekernel.masks import Masks
from netemu.wire.address import parse_address
from netemu.wire.checksum import internet_checksum
from netemu.wire.fields import get16
from netemu.wire.icmp import build_icmp
from netemu.wire.ipv4 import build_ipv4
from netemu.wire.tcp import build_tcp

A, B = parse_address("10.0.0.1"), parse_address("10.0.0.2")
HEADER = bytes(12) + b"\x08\x00"
TIMESTAMP = bytes((2, 4, 5, 0xB4, 8, 10, 1, 2, 3, 4, 0, 0, 0, 9, 0, 0))


def echo(identification: int, *, dont_fragment: bool = False) -> bytes:
    packet = build_ipv4(
        src=A,
        dst=B,
        protocol=1,
        payload=build_icmp(icmp_type=0, rest=1),
        identification=identification,
        dont_fragment=dont_fragment,
    )
    return HEADER + bytes(packet)


def segment(seq: int, flags: int, *, src_port: int = 80, stamp: int = 1) -> bytes:
    options = TIMESTAMP[:6] + stamp.to_bytes(4, "big") + TIMESTAMP[10:]
    body = build_tcp(
        src=A, dst=B, src_port=src_port, dst_port=4, seq=seq, flags=flags, options=options
    )
    return HEADER + bytes(build_ipv4(src=A, dst=B, protocol=6, payload=body, dont_fragment=True))


def test_ids_that_did_not_come_in_are_random() -> None:
    masks = Masks([echo(7)], [])
    assert masks.frame(echo(100)) == masks.frame(echo(200))
    assert masks.frame(echo(7)) != masks.frame(echo(100))


def test_ids_of_df_packets_are_compared() -> None:
    masks = Masks([], [])
    one, other = echo(100, dont_fragment=True), echo(200, dont_fragment=True)
    assert masks.frame(one) != masks.frame(other)


def test_a_masked_frame_has_a_right_checksum_only_if_it_had_one() -> None:
    masks = Masks([], [])
    good = masks.frame(echo(100))
    assert internet_checksum(good[14:34]) == 0
    bad = bytearray(echo(100))
    bad[24] ^= 1
    assert masks.frame(bytes(bad)) != good


def test_sequence_numbers_count_from_a_listeners_first_one() -> None:
    one, other = Masks([], [(bytes(4), 80)]), Masks([], [(bytes(4), 80)])
    assert one.frame(segment(1000, 0x12, stamp=5)) == other.frame(segment(99, 0x12, stamp=6))
    assert one.frame(segment(1001, 0x10)) == other.frame(segment(100, 0x10))
    assert one.frame(segment(1001, 0x10)) != other.frame(segment(101, 0x10))


def test_sequence_numbers_of_others_are_compared() -> None:
    came_in = [segment(1, 0x12), segment(2, 0x12)]
    masks = Masks(came_in, [(bytes(4), 80)])
    assert masks.frame(came_in[0]) != masks.frame(came_in[1])
    nothing_listens = Masks([], [])
    assert nothing_listens.frame(segment(1, 0x12)) != nothing_listens.frame(segment(2, 0x12))


def test_log_lines_lose_the_same() -> None:
    masks = Masks([echo(7)], [(bytes(4), 80)])
    line = "IN= OUT=e SRC=1.1.1.1 DST=2.2.2.2 LEN=40 TOS=0x00 PREC=0x00 TTL=64 ID={} PROTO=1 "
    assert masks.log_line(line.format(50)) == masks.log_line(line.format(51))
    assert masks.log_line(line.format(7)) != masks.log_line(line.format(51))
    fixed = line.replace("PROTO", "DF PROTO")
    assert masks.log_line(fixed.format(50)) != masks.log_line(fixed.format(51))


def test_other_frames_stay() -> None:
    frame = bytes(12) + b"\x08\x06" + bytes(28)
    assert Masks([], []).frame(frame) == frame
    assert get16(frame, 12) == 0x0806


def test_a_listeners_segment_is_known_by_its_time_stamp() -> None:
    """The SYN+ACK never left, and the client's acknowledgement came in (seed 870141)."""
    came_in = [segment(500, 0x10, src_port=9, stamp=7)]
    masks = Masks(came_in, [(B, 80)])
    one, other = segment(500, 0x10, stamp=1001), segment(500, 0x10, stamp=2002)
    assert masks.frame(one) == masks.frame(other)
    assert masks.frame(segment(500, 0x10, stamp=7)) != masks.frame(one)
    assert Masks(came_in, []).frame(one) != Masks(came_in, []).frame(other)


def test_a_log_line_with_ip_options_is_masked_too() -> None:
    """Seed 851290: the options stand between DF and the protocol."""
    masks = Masks([], [(A, 80)])
    line = (
        "TRACE: raw:OUTPUT:policy:2 IN= OUT=eth0 SRC=10.0.0.1 DST=10.0.0.2 LEN=72 TOS=0x00 "
        "PREC=0x00 TTL=64 ID={} DF OPT (440C0D200000000000000000) PROTO=TCP SPT=80 DPT=600 "
        "SEQ={} ACK=2 WINDOW=65160 RES=0x00 ACK SYN URGP=0 OPT (0101080A{}0000000A) "
    )
    masked = {
        masks.log_line(line.format(*drawn)) for drawn in ((0, 9, "05B7F034"), (0, 70, "F4DBD3E7"))
    }
    assert len(masked) == 1
    later = line.replace("ACK SYN", "ACK")
    masked = {
        masks.log_line(later.format(*drawn))
        for drawn in ((4564, 10, "05B7F034"), (27491, 71, "F4DBD3E7"))
    }
    assert len(masked) == 1
