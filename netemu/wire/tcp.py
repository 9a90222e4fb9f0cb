"""The TCP header (RFC 9293 section 3.1), read and written in place."""

from __future__ import annotations

from enum import IntFlag

from netemu.wire.checksum import l4_checksum
from netemu.wire.fields import get16, get32, set16, set32

SRC_PORT, DST_PORT, SEQ, ACK_SEQ = 0, 2, 4, 8
DATA_OFFSET, FLAGS, WINDOW, CHECK, URGENT = 12, 13, 14, 16, 18
"""Offsets of the fields."""

MIN_HEADER_LEN = 20

TCPOPT_EOL = 0
TCPOPT_NOP = 1
TCPOPT_MSS = 2
TCPOPT_WINDOW = 3
TCPOPT_SACK_PERM = 4
TCPOPT_SACK = 5
TCPOPT_TIMESTAMP = 8
"""Option kinds (IANA)."""


class Flag(IntFlag):
    """Octet 13 of the header."""

    FIN = 1
    SYN = 2
    RST = 4
    PSH = 8
    ACK = 16
    URG = 32
    ECE = 64
    CWR = 128


class TCP:
    """A view of a TCP header at `offset` of `data`."""

    __slots__ = ("data", "offset")

    def __init__(self, data: bytearray, offset: int = 0) -> None:
        """Look at `data`; nothing is copied or checked."""
        self.data = data
        self.offset = offset

    @property
    def src_port(self) -> int:
        """Source port."""
        return get16(self.data, self.offset + SRC_PORT)

    @src_port.setter
    def src_port(self, value: int) -> None:
        set16(self.data, self.offset + SRC_PORT, value)

    @property
    def dst_port(self) -> int:
        """Destination port."""
        return get16(self.data, self.offset + DST_PORT)

    @dst_port.setter
    def dst_port(self, value: int) -> None:
        set16(self.data, self.offset + DST_PORT, value)

    @property
    def seq(self) -> int:
        """Sequence number."""
        return get32(self.data, self.offset + SEQ)

    @property
    def ack(self) -> int:
        """Acknowledgement number."""
        return get32(self.data, self.offset + ACK_SEQ)

    @property
    def data_offset(self) -> int:
        """Header length in octets."""
        return (self.data[self.offset + DATA_OFFSET] >> 4) * 4

    @property
    def flags(self) -> int:
        """Flag octet; see `Flag`."""
        return self.data[self.offset + FLAGS]

    @property
    def window(self) -> int:
        """Window, unscaled."""
        return get16(self.data, self.offset + WINDOW)

    @property
    def check(self) -> int:
        """Checksum."""
        return get16(self.data, self.offset + CHECK)

    @check.setter
    def check(self, value: int) -> None:
        set16(self.data, self.offset + CHECK, value)

    @property
    def urgent(self) -> int:
        """Urgent pointer."""
        return get16(self.data, self.offset + URGENT)

    @property
    def options(self) -> bytes:
        """Option octets, as far as they are there."""
        start = self.offset + MIN_HEADER_LEN
        return bytes(self.data[start : self.offset + self.data_offset])


def build_tcp(  # noqa: PLR0913 - one parameter per header field
    *,
    src: bytes,
    dst: bytes,
    src_port: int,
    dst_port: int,
    seq: int = 0,
    ack: int = 0,
    flags: int = Flag.SYN,
    window: int = 0,
    urgent: int = 0,
    options: bytes = b"",
    payload: bytes = b"",
) -> bytearray:
    """Return a segment with a right checksum; `options` are a multiple of 4 octets."""
    segment = bytearray(MIN_HEADER_LEN) + options + payload
    set16(segment, SRC_PORT, src_port)
    set16(segment, DST_PORT, dst_port)
    set32(segment, SEQ, seq & 0xFFFFFFFF)
    set32(segment, ACK_SEQ, ack & 0xFFFFFFFF)
    segment[DATA_OFFSET] = ((MIN_HEADER_LEN + len(options)) // 4) << 4
    segment[FLAGS] = flags
    set16(segment, WINDOW, window)
    set16(segment, URGENT, urgent)
    set16(segment, CHECK, l4_checksum(src, dst, 6, segment))
    return segment
