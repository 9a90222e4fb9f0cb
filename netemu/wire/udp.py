"""The UDP header (RFC 768), read and written in place."""

from __future__ import annotations

from netemu.wire.checksum import l4_checksum
from netemu.wire.fields import get16, set16

SRC_PORT, DST_PORT, LENGTH, CHECK = 0, 2, 4, 6
"""Offsets of the fields."""

HEADER_LEN = 8


class UDP:
    """A view of a UDP header at `offset` of `data`."""

    __slots__ = ("data", "offset")

    def __init__(self, data: bytearray, offset: int = 0) -> None:
        """Look at `data`; nothing is copied or checked."""
        self.data = data
        self.offset = offset

    @property
    def src_port(self) -> int:
        """Source port."""
        return get16(self.data, self.offset + SRC_PORT)

    @property
    def dst_port(self) -> int:
        """Destination port."""
        return get16(self.data, self.offset + DST_PORT)

    @property
    def length(self) -> int:
        """Octets of header and payload."""
        return get16(self.data, self.offset + LENGTH)

    @property
    def check(self) -> int:
        """Checksum; 0 means that none was computed."""
        return get16(self.data, self.offset + CHECK)

    @check.setter
    def check(self, value: int) -> None:
        set16(self.data, self.offset + CHECK, value)


def build_udp(
    *, src: bytes, dst: bytes, src_port: int, dst_port: int, payload: bytes = b""
) -> bytearray:
    """Return a datagram with a right checksum (a computed 0 becomes 0xffff)."""
    datagram = bytearray(HEADER_LEN) + payload
    set16(datagram, SRC_PORT, src_port)
    set16(datagram, DST_PORT, dst_port)
    set16(datagram, LENGTH, len(datagram))
    set16(datagram, CHECK, l4_checksum(src, dst, 17, datagram) or 0xFFFF)
    return datagram
