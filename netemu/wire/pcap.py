"""Classic capture files: micro- and nanoseconds, both byte orders, read and written as a stream.

Format: draft-ietf-opsawg-pcap. A record that cannot be right ends the reading with a
`CaptureError` that names it; what came before has been handed out already.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from netemu.errors import CaptureError
from netemu.wire.capture import (
    KNOWN_LINK_TYPES,
    CapturedFrame,
    LinkType,
    Reader,
    Writer,
    refuse_link_type,
)
from netemu.wire.octet_stream import Window

MAGIC_MICROSECONDS = 0xA1B2C3D4
MAGIC_NANOSECONDS = 0xA1B23C4D
MAGIC_KUZNETZOV = 0xA1B2CD34
"""Alexey Kuznetzov's patched libpcap: eight more octets in each record header."""

GLOBAL_HEADER_LEN = 24
RECORD_HEADER_LEN = 16
KUZNETZOV_HEADER_LEN = 24

MAXIMUM_SNAPLEN = 262144
"""MAXIMUM_SNAPLEN of libpcap: no record of these link types is longer."""

_MAGICS = {
    magic.to_bytes(4, order): (order, magic)
    for magic in (MAGIC_MICROSECONDS, MAGIC_NANOSECONDS, MAGIC_KUZNETZOV)
    for order in ("little", "big")
}


def is_pcap(head: bytes) -> bool:
    """Tell by its first four octets whether a file is a classic capture."""
    return head[:4] in _MAGICS


def read_pcap(read: Reader, file: str, first: bytes = b"") -> Iterator[CapturedFrame]:
    """Yield the frames of a capture; `first` holds octets that were read already."""
    window = Window(read, first)
    if not window.has(GLOBAL_HEADER_LEN):
        raise CaptureError("the file ends within the pcap header", file=file)
    order, magic = _MAGICS[window.data[:4]]
    endian = "<" if order == "little" else ">"
    snaplen, network = struct.unpack_from(endian + "II", window.data, 16)
    window.at = GLOBAL_HEADER_LEN
    link_type = network & 0xFFFF
    if link_type not in KNOWN_LINK_TYPES:
        raise refuse_link_type(link_type, file)
    fcs_len = (network >> 28) * 2 if network & 0x04000000 else 0
    header = struct.Struct(endian + "IIII")
    header_len = KUZNETZOV_HEADER_LEN if magic == MAGIC_KUZNETZOV else RECORD_HEADER_LEN
    unit = 1 if magic == MAGIC_NANOSECONDS else 1000
    limit = max(snaplen if snaplen < 1 << 31 else 0, MAXIMUM_SNAPLEN)
    unpack = header.unpack_from
    number = 0
    while window.left >= header_len or window.has(header_len):
        number += 1
        at = window.at
        seconds, fraction, captured, original = unpack(window.data, at)
        if captured > limit:
            raise CaptureError(
                f"packet {number} at offset {window.offset} says it has {captured} octets, "
                f"more than the {limit} possible: the file is corrupt from here",
                file=file,
            )
        if window.left < header_len + captured and not window.has(header_len + captured):
            raise _cut_short(file, number, window, header_len + captured)
        start = window.at + header_len
        end = start + captured
        data = window.data[start:end]
        window.at = end
        if fcs_len:
            data, original = without_fcs(data, original, fcs_len)
        yield CapturedFrame(
            number, seconds * 1_000_000_000 + fraction * unit, data, original, link_type
        )
    if window.left:
        raise _cut_short(file, number + 1, window, header_len)


def _cut_short(file: str, number: int, window: Window, wanted: int) -> CaptureError:
    return CaptureError(
        f"the file ends within packet {number} at offset {window.offset}: "
        f"{window.left} of {wanted} octets are there",
        file=file,
    )


def without_fcs(data: bytes, original: int, fcs_len: int) -> tuple[bytes, int]:
    """Take off the Ethernet checksum that the file says is there."""
    body = original - fcs_len
    return data[:body], body


class PcapWriter:
    """Writes a capture with nanosecond time stamps."""

    __slots__ = ("_write",)

    def __init__(self, write: Writer, *, link_type: int = LinkType.ETHERNET) -> None:
        """Write the file header at once, so that an empty capture is one too."""
        self._write = write
        write(struct.pack("<IHHiIII", MAGIC_NANOSECONDS, 2, 4, 0, 0, MAXIMUM_SNAPLEN, link_type))

    def write(self, time_ns: int, data: bytes, original_length: int = 0) -> None:
        """Append one frame."""
        length = len(data)
        seconds, fraction = divmod(time_ns, 1_000_000_000)
        head = _PACK_RECORD(seconds, fraction, length, max(original_length, length))
        self._write(head + data)


_PACK_RECORD = struct.Struct("<IIII").pack
