"""The pcapng writer: one interface per device, comments, packet ids, directions, verdicts, names.

Format: draft-ietf-opsawg-pcapng. Time stamps are nanoseconds. All interfaces should be Ethernet:
libpcap refuses a file whose interfaces differ in link type.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from enum import IntEnum

from netemu.wire.capture import Direction, LinkType, Writer
from netemu.wire.pcap import MAXIMUM_SNAPLEN
from netemu.wire.pcapng import BYTE_ORDER_MAGIC, COMMENT, Block, InterfaceOption, PacketOption

_SHB_USERAPPL = 4
_VERDICT_EBPF_TC = 1
_NANOSECONDS = bytes([9])


class TcVerdict(IntEnum):
    """Values of epb_verdict's TC kind (include/uapi/linux/pkt_cls.h)."""

    OK = 0
    SHOT = 2
    STOLEN = 4


class PcapngWriter:
    """Writes one section; interfaces are described as they are needed."""

    __slots__ = ("_count", "_write")

    def __init__(self, write: Writer, *, application: str = "netemu", comment: str = "") -> None:
        """Write the section header at once, so that an empty capture is one too."""
        self._write = write
        self._count = 0
        options = _texts(COMMENT, [comment] if comment else [])
        options += _option(_SHB_USERAPPL, application.encode())
        body = struct.pack("<IHHq", BYTE_ORDER_MAGIC, 1, 0, -1)
        write(_block(Block.SECTION, body, options))

    def add_interface(
        self,
        name: str,
        *,
        description: str = "",
        mac: bytes = b"",
        link_type: int = LinkType.ETHERNET,
    ) -> int:
        """Describe an interface; return its number for `write`."""
        options = _option(InterfaceOption.NAME, name.encode())
        options += _texts(InterfaceOption.DESCRIPTION, [description] if description else [])
        if len(mac) == 6:
            options += _option(InterfaceOption.MAC, mac)
        options += _option(InterfaceOption.TSRESOL, _NANOSECONDS)
        body = struct.pack("<HHI", link_type, 0, MAXIMUM_SNAPLEN)
        self._write(_block(Block.INTERFACE, body, options))
        self._count += 1
        return self._count - 1

    def name_addresses(self, names: dict[bytes, str]) -> None:
        """Write names for packed addresses, which Wireshark shows in their place."""
        records = b""
        for address, name in names.items():
            value = address + name.encode() + b"\0"
            records += struct.pack("<HH", 1 if len(address) == 4 else 2, len(value)) + _pad(value)
        self._write(_block(Block.NAME_RESOLUTION, records + bytes(4), b""))

    def write(  # noqa: PLR0913 - the options of a packet block
        self,
        interface: int,
        time_ns: int,
        data: bytes,
        *,
        original_length: int = 0,
        direction: Direction = Direction.UNKNOWN,
        comments: Sequence[str] = (),
        packet_id: int | None = None,
        verdict: TcVerdict | None = None,
    ) -> None:
        """Append one frame."""
        length = len(data)
        body = _PACK_PACKET(
            interface,
            time_ns >> 32,
            time_ns & 0xFFFFFFFF,
            length,
            max(original_length, length),
        ) + _pad(data)
        options = _texts(COMMENT, comments) if comments else b""
        if direction:
            options += _option(PacketOption.FLAGS, struct.pack("<I", direction))
        if packet_id is not None:
            options += _option(PacketOption.PACKETID, struct.pack("<Q", packet_id))
        if verdict is not None:
            options += _option(PacketOption.VERDICT, struct.pack("<BQ", _VERDICT_EBPF_TC, verdict))
        self._write(_block(Block.ENHANCED_PACKET, body, options))


_PACK_PACKET = struct.Struct("<IIIII").pack
_PACK_TWO = struct.Struct("<II").pack
_PADDING = (b"", b"\0\0\0", b"\0\0", b"\0")


def _block(kind: int, body: bytes, options: bytes) -> bytes:
    if options:
        body += options + bytes(4)
    length = len(body) + 12
    return _PACK_TWO(kind, length) + body + length.to_bytes(4, "little")


def _pad(value: bytes) -> bytes:
    return value + _PADDING[len(value) & 3]


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("<HH", code, len(value)) + _pad(value)


def _texts(code: int, texts: Sequence[str]) -> bytes:
    return b"".join(_option(code, text.encode()[:0xFFFC]) for text in texts)
