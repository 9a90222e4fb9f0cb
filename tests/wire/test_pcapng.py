"""pcapng: interfaces, clocks, sections, options, damage."""

from __future__ import annotations

import io
import struct

import pytest

from netemu.errors import CaptureError
from netemu.wire.capture import CapturedFrame, Direction, LinkType
from netemu.wire.pcapng import is_pcapng, read_pcapng

FRAME = b"frame of 17 bytes"


class Builder:
    """Writes blocks by the draft's figures, apart from the writer under test."""

    def __init__(self, endian="<"):
        self.endian = endian
        self.out = b""
        self.block(0x0A0D0D0A, self.pack("IHHq", 0x1A2B3C4D, 1, 0, -1))

    def pack(self, layout, *values):
        return struct.pack(self.endian + layout, *values)

    def block(self, kind, body):
        length = self.pack("I", len(body) + 12)
        self.out += self.pack("I", kind) + length + body + length
        return self

    def options(self, *pairs):
        out = b""
        for code, value in pairs:
            out += self.pack("HH", code, len(value)) + value + bytes(-len(value) % 4)
        return out + bytes(4) if out else b""

    def interface(self, *options, link_type=1, snaplen=0):
        return self.block(1, self.pack("HHI", link_type, 0, snaplen) + self.options(*options))

    def packet(self, ticks, data=FRAME, *options, index=0, original=None):
        head = self.pack(
            "IIIII", index, ticks >> 32, ticks & 0xFFFFFFFF, len(data), original or len(data)
        )
        return self.block(6, head + data + bytes(-len(data) % 4) + self.options(*options))


def read(data: bytes) -> list[CapturedFrame]:
    return list(read_pcapng(io.BytesIO(data).read, "x.pcapng"))


@pytest.mark.parametrize("endian", "<>")
def test_microseconds_are_the_default_in_both_byte_orders(endian):
    data = Builder(endian).interface().packet(1_700_000_000_000_005).out
    assert is_pcapng(data)
    assert read(data) == [CapturedFrame(1, 1_700_000_000_000_005_000, FRAME, 17)]


@pytest.mark.parametrize(
    "resolution,ticks,expected",
    [
        (b"\x09", 1_700_000_000_123_456_789, 1_700_000_000_123_456_789),
        (b"\x03", 1_700_000_000_123, 1_700_000_000_123_000_000),
        (b"\x8a", 1_700_000_000 * 1024 + 512, 1_700_000_000_500_000_000),
    ],
)
def test_if_tsresol(resolution, ticks, expected):
    (frame,) = read(Builder().interface((9, resolution)).packet(ticks).out)
    assert frame.time_ns == expected


def test_if_tsoffset_is_added_in_seconds():
    offset = struct.pack("<q", 1_700_000_000)
    (frame,) = read(Builder().interface((14, offset)).packet(5).out)
    assert frame.time_ns == 1_700_000_000_000_005_000


def test_names_link_types_and_options_per_interface():
    data = (
        Builder()
        .interface((2, b"eth0"))
        .interface((2, b"tun0"), link_type=101)
        .packet(1, FRAME, (2, struct.pack("<I", 2)), (1, b"out"), (1, b"of here"))
        .packet(2, FRAME, (5, struct.pack("<Q", 77)), index=1)
        .out
    )
    first, second = read(data)
    assert (first.interface, first.link_type) == ("eth0", LinkType.ETHERNET)
    assert (first.direction, first.comments) == (Direction.OUTBOUND, ("out", "of here"))
    assert first.entered is False
    assert (second.interface, second.link_type, second.packet_id) == ("tun0", LinkType.RAW, 77)
    assert second.entered is None


def test_sections_start_their_interfaces_afresh_and_may_turn_the_byte_order():
    data = (
        Builder("<").interface((2, b"a")).packet(1).out
        + Builder(">").interface((2, b"b")).packet(2).out
    )
    assert [(frame.number, frame.interface) for frame in read(data)] == [(1, "a"), (2, "b")]


def test_simple_and_obsolete_packets():
    """A simple packet has no time of its own and is cut by the interface's snaplen."""
    builder = Builder().interface(snaplen=8).packet(7, FRAME[:8], original=17)
    builder.block(3, builder.pack("I", 17) + FRAME[:8])
    builder.block(2, builder.pack("HHIIII", 0, 0, 0, 9, 4, 4) + b"abcd")
    first, simple, obsolete = read(builder.out)
    assert (simple.time_ns, simple.data, simple.original_length) == (first.time_ns, FRAME[:8], 17)
    assert (obsolete.time_ns, obsolete.data) == (9000, b"abcd")


def test_blocks_without_packets_are_passed_over():
    builder = Builder().interface()
    builder.block(4, bytes(4)).block(5, bytes(12)).block(0x0BAD, b"vend").packet(1)
    assert len(read(builder.out)) == 1


@pytest.mark.parametrize(
    "spoil,message",
    [
        (lambda b: b.packet(1, index=3).out, "packet 1 names interface 3"),
        (lambda b: b.packet(1).out[:-5], "within a block"),
        (lambda b: b.packet(1).out[:-4] + bytes(4), "opens with length 52 and closes with 0"),
        (lambda b: b.out + struct.pack("<II", 6, 7) + bytes(4), "impossible length 7"),
        (lambda b: b.out + b"\x06\0\0", "within a block header"),
        (lambda b: b.block(6, bytes(8)).out, "packet block is too short"),
        (
            lambda b: b.block(6, b.pack("IIIII", 0, 0, 0, 999, 999) + FRAME + bytes(3)).out,
            "packet 1 says it has 999 octets",
        ),
    ],
)
def test_damage_is_named(spoil, message):
    with pytest.raises(CaptureError, match=message) as caught:
        read(spoil(Builder().interface()))
    assert "at offset" in str(caught.value)
    assert str(caught.value).startswith("x.pcapng: ")


def test_what_is_whole_comes_before_the_damage():
    frames = read_pcapng(io.BytesIO(Builder().interface().packet(1).out + b"junk!").read, "x")
    assert next(frames).data == FRAME
    with pytest.raises(CaptureError):
        next(frames)


def test_a_packet_of_another_link_type_is_refused_when_it_comes():
    data = Builder().interface().interface(link_type=127).packet(1).packet(2, index=1).out
    frames = read_pcapng(io.BytesIO(data).read, "x")
    next(frames)
    with pytest.raises(CaptureError, match="link type 127"):
        next(frames)
