"""The IPv4 header (RFC 791), read and written in place.

 0               1               2               3
|ver|ihl|  tos  |         total length          |
|        identification         |fl|  frag off  |
|  ttl  | proto |           check               |
|                 source address                |
|               destination address             |
"""

from __future__ import annotations

from enum import IntEnum

from netemu.wire.checksum import internet_checksum

TOS, TOTAL_LENGTH, IDENTIFICATION, FRAGMENT = 1, 2, 4, 6
TTL, PROTOCOL, CHECK, SRC, DST = 8, 9, 10, 12, 16
"""Offsets of the fields."""

MIN_HEADER_LEN = 20

IP_CE = 0x8000
IP_DF = 0x4000
IP_MF = 0x2000
IP_OFFSET = 0x1FFF
"""Bits of the fragment word (include/net/ip.h)."""


class Protocol(IntEnum):
    """IP protocol numbers that netemu names (IANA)."""

    ICMP = 1
    IGMP = 2
    IPIP = 4
    TCP = 6
    UDP = 17
    DCCP = 33
    GRE = 47
    ESP = 50
    AH = 51
    ICMPV6 = 58
    SCTP = 132
    UDPLITE = 136


IPPROTO_ICMP = 1
IPPROTO_IGMP = 2
IPPROTO_TCP = 6
IPPROTO_UDP = 17
IPPROTO_DCCP = 33
IPPROTO_GRE = 47
IPPROTO_ESP = 50
IPPROTO_AH = 51
IPPROTO_SCTP = 132
IPPROTO_UDPLITE = 136


class IPv4:
    """A view of an IPv4 header at `offset` of `data`."""

    __slots__ = ("data", "offset")

    def __init__(self, data: bytearray, offset: int = 0) -> None:
        """Look at `data`; nothing is copied or checked."""
        self.data = data
        self.offset = offset

    @property
    def version(self) -> int:
        """4 for IPv4."""
        return self.data[self.offset] >> 4

    @property
    def ihl(self) -> int:
        """Header length in 32-bit words."""
        return self.data[self.offset] & 0x0F

    @property
    def header_len(self) -> int:
        """Header length in octets."""
        return (self.data[self.offset] & 0x0F) * 4

    @property
    def tos(self) -> int:
        """Type of service: DSCP and ECN."""
        return self.data[self.offset + TOS]

    @tos.setter
    def tos(self, value: int) -> None:
        self.data[self.offset + TOS] = value

    @property
    def total_length(self) -> int:
        """Octets of header and payload."""
        return self._get16(TOTAL_LENGTH)

    @total_length.setter
    def total_length(self, value: int) -> None:
        self._set16(TOTAL_LENGTH, value)

    @property
    def identification(self) -> int:
        """Identification that the fragments of a packet share."""
        return self._get16(IDENTIFICATION)

    @identification.setter
    def identification(self, value: int) -> None:
        self._set16(IDENTIFICATION, value)

    @property
    def frag_off(self) -> int:
        """Return the whole word: reserved bit, DF, MF and offset."""
        return self._get16(FRAGMENT)

    @frag_off.setter
    def frag_off(self, value: int) -> None:
        self._set16(FRAGMENT, value)

    @property
    def dont_fragment(self) -> bool:
        """DF bit."""
        return bool(self._get16(FRAGMENT) & IP_DF)

    @property
    def more_fragments(self) -> bool:
        """MF bit."""
        return bool(self._get16(FRAGMENT) & IP_MF)

    @property
    def fragment_offset(self) -> int:
        """Offset of this fragment in units of 8 octets."""
        return self._get16(FRAGMENT) & IP_OFFSET

    @property
    def ttl(self) -> int:
        """Time to live."""
        return self.data[self.offset + TTL]

    @ttl.setter
    def ttl(self, value: int) -> None:
        self.data[self.offset + TTL] = value

    @property
    def protocol(self) -> int:
        """Protocol of the payload."""
        return self.data[self.offset + PROTOCOL]

    @property
    def check(self) -> int:
        """Header checksum."""
        return self._get16(CHECK)

    @check.setter
    def check(self, value: int) -> None:
        self._set16(CHECK, value)

    @property
    def src(self) -> bytes:
        """Source address."""
        start = self.offset + SRC
        return bytes(self.data[start : start + 4])

    @src.setter
    def src(self, value: bytes) -> None:
        start = self.offset + SRC
        self.data[start : start + 4] = value

    @property
    def dst(self) -> bytes:
        """Destination address."""
        start = self.offset + DST
        return bytes(self.data[start : start + 4])

    @dst.setter
    def dst(self, value: bytes) -> None:
        start = self.offset + DST
        self.data[start : start + 4] = value

    def update_check(self) -> None:
        """Compute the header checksum anew (ip_send_check)."""
        self._set16(CHECK, 0)
        start = self.offset
        self._set16(CHECK, internet_checksum(self.data[start : start + self.header_len]))

    def _get16(self, field: int) -> int:
        start = self.offset + field
        return (self.data[start] << 8) | self.data[start + 1]

    def _set16(self, field: int, value: int) -> None:
        start = self.offset + field
        self.data[start] = value >> 8
        self.data[start + 1] = value & 0xFF


def build_ipv4(  # noqa: PLR0913 - one parameter per header field
    *,
    src: bytes,
    dst: bytes,
    protocol: int,
    payload: bytes | bytearray,
    ttl: int = 64,
    tos: int = 0,
    identification: int = 0,
    dont_fragment: bool = False,
    more_fragments: bool = False,
    fragment_offset: int = 0,
    options: bytes = b"",
) -> bytearray:
    """Return a packet with a right header checksum; `options` are a multiple of 4 octets."""
    header_len = MIN_HEADER_LEN + len(options)
    header = bytearray(header_len)
    header[0] = 0x40 | (header_len // 4)
    header[MIN_HEADER_LEN:] = options
    packet = header + payload
    view = IPv4(packet)
    view.tos = tos
    view.total_length = len(packet)
    view.identification = identification
    view.frag_off = (
        (IP_DF if dont_fragment else 0) | (IP_MF if more_fragments else 0) | fragment_offset
    )
    view.ttl = ttl
    packet[PROTOCOL] = protocol
    view.src = src
    view.dst = dst
    view.update_check()
    return packet
