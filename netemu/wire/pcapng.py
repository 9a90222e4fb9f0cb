"""The pcapng reader: many sections and interfaces, names, clocks, directions, comments.

Format: draft-ietf-opsawg-pcapng. Blocks that carry no packet (names, statistics, secrets, custom)
are passed over; a block that cannot be right ends the reading with a `CaptureError`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import IntEnum

from msgspec import Struct

from netemu.errors import CaptureError
from netemu.wire.capture import (
    KNOWN_LINK_TYPES,
    CapturedFrame,
    Direction,
    Reader,
    refuse_link_type,
)
from netemu.wire.octet_stream import Window
from netemu.wire.pcap import MAXIMUM_SNAPLEN, without_fcs


class Block(IntEnum):
    """Block types."""

    INTERFACE = 1
    PACKET = 2
    """The obsolete packet block."""
    SIMPLE_PACKET = 3
    NAME_RESOLUTION = 4
    ENHANCED_PACKET = 6
    SECTION = 0x0A0D0D0A


END_OF_OPTIONS = 0
COMMENT = 1


class InterfaceOption(IntEnum):
    """Options of an interface description block."""

    NAME = 2
    DESCRIPTION = 3
    MAC = 6
    TSRESOL = 9
    FCSLEN = 13
    TSOFFSET = 14


class PacketOption(IntEnum):
    """Options of an enhanced packet block."""

    FLAGS = 2
    PACKETID = 5
    VERDICT = 7


BYTE_ORDER_MAGIC = 0x1A2B3C4D
MAXIMUM_BLOCK_LEN = 16 << 20
"""A block longer than libpcap takes (16 MiB) is corrupt."""


class Interface(Struct, frozen=True, kw_only=True):
    """One interface description block."""

    link_type: int
    snaplen: int
    name: str
    ticks_per_s: int
    offset_s: int
    fcs_len: int

    def time_ns(self, ticks: int) -> int:
        """Return the time stamp in nanoseconds since 1970."""
        return ticks * 1_000_000_000 // self.ticks_per_s + self.offset_s * 1_000_000_000


def is_pcapng(head: bytes) -> bool:
    """Tell by its first four octets whether a file is a pcapng."""
    return head[:4] == b"\x0a\x0d\x0d\x0a"


def read_pcapng(read: Reader, file: str, first: bytes = b"") -> Iterator[CapturedFrame]:
    """Yield the frames of a capture; `first` holds octets that were read already."""
    return _Pcapng(read, file, first).frames()


class _Pcapng:
    """State of one reading: byte order and interfaces of the present section."""

    __slots__ = ("endian", "file", "interfaces", "last_ns", "number", "window")

    def __init__(self, read: Reader, file: str, first: bytes) -> None:
        self.window = Window(read, first)
        self.file = file
        self.endian = "<"
        self.interfaces: list[Interface] = []
        self.number = 0
        self.last_ns = 0

    def frames(self) -> Iterator[CapturedFrame]:
        """Read block after block."""
        window = self.window
        while window.has(8):
            kind, body = self.next_block()
            if kind == Block.ENHANCED_PACKET:
                yield self.enhanced(body)
            elif kind == Block.SECTION:
                self.interfaces = []
            elif kind == Block.INTERFACE:
                self.interfaces.append(self.interface(body))
            elif kind == Block.SIMPLE_PACKET:
                yield self.simple(body)
            elif kind == Block.PACKET:
                yield self.obsolete(body)
        if window.left:
            raise self.error("the file ends within a block header")

    def next_block(self) -> tuple[int, bytes]:
        """Consume one block; return its type and body."""
        window = self.window
        if window.data[window.at : window.at + 4] == b"\x0a\x0d\x0d\x0a":
            self.take_byte_order()
        kind, length = struct.unpack_from(self.endian + "II", window.data, window.at)
        if length % 4 or not 12 <= length <= MAXIMUM_BLOCK_LEN:
            raise self.error(f"a block has the impossible length {length}")
        if not window.has(length):
            raise self.error(
                f"the file ends within a block: {window.left} of {length} octets are there"
            )
        start = window.at
        (closing,) = struct.unpack_from(self.endian + "I", window.data, start + length - 4)
        if closing != length:
            raise self.error(f"a block opens with length {length} and closes with {closing}")
        window.at = start + length
        return kind, window.data[start + 8 : start + length - 4]

    def take_byte_order(self) -> None:
        """Learn the byte order of a section from its header."""
        if not self.window.has(12):
            raise self.error("the file ends within a section header")
        magic = self.window.data[self.window.at + 8 : self.window.at + 12]
        for endian in "<>":
            if struct.unpack(endian + "I", magic)[0] == BYTE_ORDER_MAGIC:
                self.endian = endian
                return
        raise self.error("a section header has no byte-order magic")

    def interface(self, body: bytes) -> Interface:
        """Read an interface description block."""
        if len(body) < 8:
            raise self.error("an interface block is too short")
        link_type, _, snaplen = struct.unpack_from(self.endian + "HHI", body)
        name, ticks, offset, fcs_len = "", 1_000_000, 0, 0
        for code, value in self.options(body, 8):
            if code == InterfaceOption.NAME:
                name = value.rstrip(b"\0").decode("utf-8", "replace")
            elif code == InterfaceOption.TSRESOL and value:
                power = value[0] & 0x7F
                ticks = 2**power if value[0] & 0x80 else 10**power
            elif code == InterfaceOption.TSOFFSET and len(value) == 8:
                (offset,) = struct.unpack(self.endian + "q", value)
            elif code == InterfaceOption.FCSLEN and value:
                fcs_len = value[0]
        return Interface(
            link_type=link_type,
            snaplen=snaplen,
            name=name,
            ticks_per_s=ticks,
            offset_s=offset,
            fcs_len=fcs_len,
        )

    def enhanced(self, body: bytes) -> CapturedFrame:
        """Read an enhanced packet block."""
        if len(body) < 20:
            raise self.error("a packet block is too short")
        index, high, low, captured, original = struct.unpack_from(self.endian + "IIIII", body)
        return self.frame(body, 20, index, (high << 32) | low, captured, original)

    def obsolete(self, body: bytes) -> CapturedFrame:
        """Read a packet block of the first drafts."""
        if len(body) < 20:
            raise self.error("a packet block is too short")
        index, _, high, low, captured, original = struct.unpack_from(self.endian + "HHIIII", body)
        return self.frame(body, 20, index, (high << 32) | low, captured, original)

    def simple(self, body: bytes) -> CapturedFrame:
        """Read a simple packet block: interface 0, the time stamp of the packet before."""
        if len(body) < 4:
            raise self.error("a packet block is too short")
        (original,) = struct.unpack_from(self.endian + "I", body)
        snaplen = self.interfaces[0].snaplen if self.interfaces else 0
        captured = min(original, snaplen or original, len(body) - 4)
        return self.frame(body, 4, 0, None, captured, original)

    def frame(
        self,
        body: bytes,
        start: int,
        index: int,
        ticks: int | None,
        captured: int,
        original: int,
    ) -> CapturedFrame:
        """Build a frame from a packet block's fields."""
        self.number += 1
        if index >= len(self.interfaces):
            raise self.error(
                f"packet {self.number} names interface {index}, which is not described"
            )
        interface = self.interfaces[index]
        if interface.link_type not in KNOWN_LINK_TYPES:
            raise refuse_link_type(interface.link_type, self.file)
        if captured > min(len(body) - start, MAXIMUM_SNAPLEN):
            raise self.error(
                f"packet {self.number} says it has {captured} octets, more than its block"
            )
        data = body[start : start + captured]
        if ticks is not None:
            self.last_ns = interface.time_ns(ticks)
        if interface.fcs_len:
            data, original = without_fcs(data, original, interface.fcs_len)
        options = start + (captured + 3 & ~3)
        if options >= len(body):
            return CapturedFrame(
                self.number, self.last_ns, data, original, interface.link_type, interface.name
            )
        return self.with_options(body, options, data, original, interface)

    def with_options(
        self, body: bytes, start: int, data: bytes, original: int, interface: Interface
    ) -> CapturedFrame:
        """Build a frame and read its block's options."""
        direction, comments, packet_id = Direction.UNKNOWN, list[str](), None
        for code, value in self.options(body, start):
            if code == COMMENT:
                comments.append(value.decode("utf-8", "replace"))
            elif code == PacketOption.FLAGS and len(value) == 4:
                bits = struct.unpack(self.endian + "I", value)[0] & 3
                direction = Direction(bits) if bits < 3 else Direction.UNKNOWN
            elif code == PacketOption.PACKETID and len(value) == 8:
                (packet_id,) = struct.unpack(self.endian + "Q", value)
        return CapturedFrame(
            self.number,
            self.last_ns,
            data,
            original,
            interface.link_type,
            interface.name,
            direction,
            tuple(comments),
            packet_id,
        )

    def options(self, body: bytes, at: int) -> Iterator[tuple[int, bytes]]:
        """Yield (code, value) of each option from `at`."""
        while at + 4 <= len(body):
            code, length = struct.unpack_from(self.endian + "HH", body, at)
            if code == END_OF_OPTIONS:
                return
            if at + 4 + length > len(body):
                raise self.error(f"option {code} reaches over the end of its block")
            yield code, body[at + 4 : at + 4 + length]
            at += 4 + (length + 3 & ~3)

    def error(self, message: str) -> CaptureError:
        """Return an error that names the place."""
        return CaptureError(
            f"{message}; after packet {self.number}, at offset {self.window.offset}",
            file=self.file,
        )
