"""The identity of one direction of a connection.

Kernel: net/netfilter/nf_conntrack_core.c (nf_ct_get_tuple, nf_ct_invert_tuple),
include/net/netfilter/nf_conntrack_tuple.h.

Addresses are packed bytes, 4 or 16 of them; nothing else depends on the family.
"""

from __future__ import annotations

from typing import NamedTuple

from netemu.netfilter.hook import Family
from netemu.wire.address import format_address
from netemu.wire.ipv4 import (
    IPPROTO_DCCP,
    IPPROTO_GRE,
    IPPROTO_ICMP,
    IPPROTO_SCTP,
    IPPROTO_TCP,
    IPPROTO_UDP,
    IPPROTO_UDPLITE,
)

PORT_PROTOCOLS = frozenset({IPPROTO_TCP, IPPROTO_UDP, IPPROTO_UDPLITE, IPPROTO_SCTP})
"""Protocols whose parts are ports. 6.1 has DCCP too; it left conntrack before 6.18."""

ICMP_PAIR = {0: 8, 8: 0, 13: 14, 14: 13, 15: 16, 16: 15, 17: 18, 18: 17}
"""Request and reply types (invmap of nf_conntrack_proto_icmp.c); other types have no reply."""


class Tuple(NamedTuple):
    """Source and destination of packets in one direction (struct nf_conntrack_tuple)."""

    src: bytes
    dst: bytes
    protocol: int
    src_part: int
    """Source port, ICMP id, GRE key; 0 for protocols without."""
    dst_part: int
    """Destination port, ICMP type * 256 + code, GRE key; 0 for protocols without."""

    @property
    def family(self) -> Family:
        """IPV4 or IPV6, by the length of the addresses."""
        return Family.IPV4 if len(self.src) == 4 else Family.IPV6

    @property
    def icmp_type(self) -> int:
        """ICMP type of an ICMP tuple."""
        return self.dst_part >> 8

    @property
    def icmp_code(self) -> int:
        """ICMP code of an ICMP tuple."""
        return self.dst_part & 0xFF

    @property
    def has_ports(self) -> bool:
        """Whether the parts are ports."""
        return self.protocol in PORT_PROTOCOLS or (
            self.protocol == IPPROTO_DCCP and bool(self.src_part or self.dst_part)
        )


def invert_tuple(tuple_: Tuple) -> Tuple | None:
    """Return the tuple of an answer, None where there can be none (nf_ct_invert_tuple).

    >>> a, b = bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2])
    >>> invert_tuple(Tuple(a, b, 1, 77, 8 << 8)) == Tuple(b, a, 1, 77, 0)
    True
    """
    src, dst, protocol, src_part, dst_part = tuple_
    if protocol == IPPROTO_ICMP:
        pair = ICMP_PAIR.get(dst_part >> 8)
        if pair is None:
            return None
        return Tuple(dst, src, protocol, src_part, pair << 8 | dst_part & 0xFF)
    return Tuple(dst, src, protocol, dst_part, src_part)


def inverse(tuple_: Tuple) -> Tuple:
    """Invert a tuple that is known to have an inverse, such as one of a connection's."""
    found = invert_tuple(tuple_)
    assert found is not None
    return found


def get_l4proto(data: bytearray, network_offset: int = 0) -> tuple[int, int]:
    """Return protocol and offset of the L4 header; offset 0 when it cannot be had.

    Kernel: ipv4_get_l4proto: no header, or a fragment other than the first.
    """
    if len(data) < network_offset + 20:
        return 0, 0
    if data[network_offset + 6] & 0x1F or data[network_offset + 7]:
        return 0, 0
    transport_offset = network_offset + (data[network_offset] & 0x0F) * 4
    if transport_offset > len(data):
        return 0, 0
    return data[network_offset + 9], transport_offset


def get_tuple(
    data: bytearray,
    network_offset: int,
    transport_offset: int,
    protocol: int,
    *,
    dccp: bool = False,
) -> Tuple | None:
    """Return the tuple of the packet in `data`, None when its L4 header is cut short.

    `dccp` says whether DCCP is tracked by its ports (6.1) or as any other protocol (6.18).
    """
    src = bytes(data[network_offset + 12 : network_offset + 16])
    dst = bytes(data[network_offset + 16 : network_offset + 20])
    at = transport_offset
    if protocol in PORT_PROTOCOLS or (dccp and protocol == IPPROTO_DCCP):
        if len(data) < at + 4:
            return None
        return Tuple(
            src, dst, protocol, data[at] << 8 | data[at + 1], data[at + 2] << 8 | data[at + 3]
        )
    if protocol == IPPROTO_ICMP:
        if len(data) < at + 8:
            return None
        return Tuple(
            src, dst, protocol, data[at + 4] << 8 | data[at + 5], data[at] << 8 | data[at + 1]
        )
    if protocol == IPPROTO_GRE:
        return _gre_tuple(data, at, src, dst)
    return Tuple(src, dst, protocol, 0, 0)


def _gre_tuple(data: bytearray, at: int, src: bytes, dst: bytes) -> Tuple | None:
    """Kernel: gre_pkt_to_tuple. Only PPTP's enhanced GRE (version 1) has a key, its call id."""
    if len(data) < at + 4 or data[at + 1] & 0x07 != 1 or len(data) < at + 8:
        return Tuple(src, dst, IPPROTO_GRE, 0, 0)
    if data[at + 2] << 8 | data[at + 3] != 0x880B:
        return None
    return Tuple(src, dst, IPPROTO_GRE, 0, data[at + 6] << 8 | data[at + 7])


def half_text(tuple_: Tuple, *, source: bool) -> str:
    """Return one end for events: ADDRESS:PORT, ADDRESS id=N or ADDRESS."""
    address = format_address(tuple_.src if source else tuple_.dst)
    if tuple_.protocol == IPPROTO_ICMP:
        return f"{address} id={tuple_.src_part}"
    if tuple_.has_ports:
        return f"{address}:{tuple_.src_part if source else tuple_.dst_part}"
    return address
