"""Classic captures: byte orders, units, damage; tcpdump is the authority for what we write."""

from __future__ import annotations

import io
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from netemu.errors import CaptureError
from netemu.wire.capture import CapturedFrame, LinkType
from netemu.wire.pcap import PcapWriter, is_pcap, read_pcap

FRAME = bytes.fromhex("020000000001020000000002080045000014")


def capture(endian="<", magic=0xA1B2C3D4, network=1, records=((1700000000, 5, FRAME),)):
    out = struct.pack(endian + "IHHiIII", magic, 2, 4, 0, 0, 65535, network)
    for seconds, fraction, data in records:
        out += struct.pack(endian + "IIII", seconds, fraction, len(data), len(data)) + data
    return out


def read(data: bytes) -> list[CapturedFrame]:
    return list(read_pcap(io.BytesIO(data).read, "x.pcap"))


@pytest.mark.parametrize("endian", "<>")
@pytest.mark.parametrize("magic,unit", [(0xA1B2C3D4, 1000), (0xA1B23C4D, 1)])
def test_reads_both_byte_orders_and_both_units(endian, magic, unit):
    data = capture(endian, magic)
    assert is_pcap(data)
    assert read(data) == [
        CapturedFrame(1, 1_700_000_000_000_000_000 + 5 * unit, FRAME, len(FRAME), 1)
    ]


def test_many_frames_stream_through_small_reads():
    """No record needs to lie within one read."""
    records = [(index, 0, bytes([index % 256]) * (index % 1500)) for index in range(600)]
    source = io.BytesIO(capture(records=records))
    frames = list(read_pcap(lambda size: source.read(min(size, 777)), "x"))
    assert [(frame.time_ns // 10**9, 0, frame.data) for frame in frames] == records
    assert [frame.number for frame in frames] == list(range(1, 601))


def test_snaplen_shows_as_truncated():
    head = capture(records=())
    (frame,) = read(head + struct.pack("<IIII", 1, 0, 4, 1500) + b"abcd")
    assert (frame.data, frame.original_length, frame.truncated) == (b"abcd", 1500, True)


def test_frame_check_sequence_is_taken_off():
    """The upper bits of the link type say how many octets of FCS follow each frame."""
    (frame,) = read(capture(network=1 | 0x04000000 | 2 << 28, records=((1, 0, FRAME + b"FCS!"),)))
    assert (frame.data, frame.original_length) == (FRAME, len(FRAME))


@pytest.mark.parametrize("cut", [1, 10, 20])
def test_a_cut_file_gives_what_is_whole_and_then_says_where(cut):
    data = capture(records=[(1, 0, FRAME), (2, 0, FRAME)])
    frames = read_pcap(io.BytesIO(data[:-cut]).read, "cut.pcap")
    assert next(frames).time_ns == 10**9
    with pytest.raises(CaptureError, match=r"cut.pcap: .*within packet 2 at offset 58"):
        next(frames)


def test_a_corrupt_length_names_the_packet():
    data = bytearray(capture(records=[(1, 0, FRAME), (2, 0, FRAME)]))
    data[58 + 8 : 58 + 12] = struct.pack("<I", 0x7FFFFFFF)
    frames = read_pcap(io.BytesIO(bytes(data)).read, "bad.pcap")
    next(frames)
    with pytest.raises(CaptureError, match=r"packet 2 at offset 58 says it has 2147483647 octets"):
        next(frames)


def test_another_link_type_is_refused_in_one_line():
    with pytest.raises(CaptureError) as caught:
        read(capture(network=127))
    assert str(caught.value) == (
        "x.pcap: link type 127 (IEEE 802.11 with radiotap header) carries no frames that netemu "
        "could inject; it reads Ethernet, raw IP, Linux cooked (SLL, SLL2) and loopback captures"
    )


def test_a_header_alone_is_an_empty_capture_and_half_a_header_none():
    assert read(capture(records=())) == []
    with pytest.raises(CaptureError, match="ends within the pcap header"):
        read(capture(records=())[:20])


def test_what_we_write_we_read():
    out = io.BytesIO()
    writer = PcapWriter(out.write)
    writer.write(1_700_000_000_123_456_789, FRAME)
    writer.write(1_700_000_000_123_456_790, FRAME[:14], 1514)
    first, second = read(out.getvalue())
    assert (first.time_ns, first.data) == (1_700_000_000_123_456_789, FRAME)
    assert (second.data, second.original_length) == (FRAME[:14], 1514)


@pytest.mark.skipif(shutil.which("tcpdump") is None, reason="needs tcpdump")
@pytest.mark.parametrize("link_type", [LinkType.ETHERNET, LinkType.RAW])
def test_tcpdump_reads_what_we_write(tmp_path: Path, link_type: LinkType):
    packet = bytes.fromhex("450000140001000040007a8e0a0000010a000002")
    data = FRAME[:14] + packet if link_type == LinkType.ETHERNET else packet
    path = tmp_path / "out.pcap"
    with path.open("wb") as stream:
        PcapWriter(stream.write, link_type=link_type).write(1_700_000_000_123_456_789, data)
    shown = subprocess.run(
        ["tcpdump", "-nn", "-tt", "--nano", "-r", str(path)],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert shown.startswith("1700000000.123456789 IP 10.0.0.1 > 10.0.0.2:")
