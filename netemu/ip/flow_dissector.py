"""What a packet is about, tunnels looked through: the parts that flows are hashed by.

Kernel: net/core/flow_dissector.c (__skb_flow_dissect), include/net/flow_dissector.h.

Theory of operation: header after header is read, IPIP, 6in4 and GRE in any order; what an inner
packet says takes the place of what the outer one said. A fragment has no ports.
"""

from __future__ import annotations

import struct
from typing import Final

from msgspec import Struct

from netemu.hashing import siphash
from netemu.skb import ETH_HLEN, ETH_P_IP, ETH_P_IPV6
from netemu.wire.fields import get16
from netemu.wire.ipv4 import (
    IPPROTO_DCCP,
    IPPROTO_ESP,
    IPPROTO_GRE,
    IPPROTO_SCTP,
    IPPROTO_TCP,
    IPPROTO_UDP,
    IPPROTO_UDPLITE,
)

IPPROTO_IPIP: Final = 4
IPPROTO_IPV6: Final = 41
NEXTHDR_FRAGMENT: Final = 44
NEXTHDR_OPTIONS: Final = frozenset({0, 43, 60})
"""Hop-by-hop options, routing header, destination options."""

ETH_P_TEB: Final = 0x6558
GRE_CSUM, GRE_ROUTING, GRE_KEY, GRE_SEQ = 0x8000, 0x4000, 0x2000, 0x1000
GRE_VERSION: Final = 7

MAX_FLOW_DISSECT_HDRS: Final = 15

PORT_PROTOCOLS: Final = frozenset(
    (IPPROTO_TCP, IPPROTO_UDP, IPPROTO_UDPLITE, IPPROTO_DCCP, IPPROTO_SCTP, IPPROTO_ESP)
)
"""Protocols whose first four octets are ports or stand for them (proto_ports_offset)."""

_HEAD: Final = struct.Struct("<HBxI8x8x4xHH4x")
"""struct flow_keys from `basic` on: protocols, flow label, room for two VLAN tags and a key,
ports, room for ICMP."""

_TAIL: Final = bytes(4)
"""The structure's size is a multiple of 8, and what is hashed ends as far behind."""


class FlowKeys(Struct):
    """struct flow_keys, as far as it is hashed."""

    saddr: bytes = bytes(4)
    daddr: bytes = bytes(4)
    protocol: int = 0
    src_port: int = 0
    dst_port: int = 0
    flow_label: int = 0
    encapsulated: bool = False
    """Whether a tunnel was met (FLOW_DIS_ENCAPSULATION)."""

    def hash(self, key: tuple[int, int]) -> int:
        """Return 32 bits, never 0 (flow_hash_from_keys_seed)."""
        four = len(self.saddr) == 4
        ends = sorted((self.saddr, self.daddr), key=_as_in_memory if four else bytes)
        ports = sorted((_swapped(self.src_port), _swapped(self.dst_port)))
        head = _HEAD.pack(0, self.protocol, self.flow_label, *ports)
        data = head + b"".join(ends) + _TAIL
        return siphash(data, key) & 0xFFFFFFFF or 1


def _as_in_memory(address: bytes) -> bytes:
    """Order IPv4 addresses as a little-endian machine compares them (__flow_hash_consistentify)."""
    return address[::-1]


def _swapped(port: int) -> int:
    return (port & 0xFF) << 8 | port >> 8


def skb_flow_dissect(data: bytes | bytearray, *, into_tunnels: bool) -> FlowKeys:
    """Return the keys of an IPv4 packet; those of the innermost one, or of the outer one."""
    keys = FlowKeys()
    ethertype, at = ETH_P_IP, 0
    for _ in range(MAX_FLOW_DISSECT_HDRS):
        inner = _network(data, ethertype, at, keys)
        if inner is None:
            return keys
        keys.encapsulated = True
        if not into_tunnels:
            return keys
        ethertype, at = inner
    return keys


def _network(
    data: bytes | bytearray, ethertype: int, at: int, keys: FlowKeys
) -> tuple[int, int] | None:
    """Read an IP header and what follows; return ethertype and place of a packet inside."""
    if ethertype == ETH_P_IP:
        if len(data) < at + 20 or data[at] & 0x0F < 5:
            return None
        keys.saddr, keys.daddr = bytes(data[at + 12 : at + 16]), bytes(data[at + 16 : at + 20])
        keys.protocol, keys.flow_label = data[at + 9], 0
        if get16(data, at + 6) & 0x3FFF:
            return None
        return _transport(data, data[at + 9], at + (data[at] & 0x0F) * 4, keys)
    if ethertype != ETH_P_IPV6 or len(data) < at + 40:
        return None
    keys.saddr, keys.daddr = bytes(data[at + 8 : at + 24]), bytes(data[at + 24 : at + 40])
    keys.flow_label = int.from_bytes(data[at : at + 4], "big") & 0xFFFFF
    protocol, at = data[at + 6], at + 40
    while protocol in NEXTHDR_OPTIONS and len(data) >= at + 8:
        protocol, at = data[at], at + (data[at + 1] + 1) * 8
    keys.protocol = protocol
    if protocol == NEXTHDR_FRAGMENT:
        keys.protocol = data[at] if len(data) > at else protocol
        return None
    return _transport(data, protocol, at, keys)


def _transport(
    data: bytes | bytearray, protocol: int, at: int, keys: FlowKeys
) -> tuple[int, int] | None:
    if protocol == IPPROTO_IPIP:
        return ETH_P_IP, at
    if protocol == IPPROTO_IPV6:
        return ETH_P_IPV6, at
    if protocol == IPPROTO_GRE:
        return _gre(data, at)
    if protocol in PORT_PROTOCOLS and len(data) >= at + 4:
        keys.src_port, keys.dst_port = get16(data, at), get16(data, at + 2)
    return None


def _gre(data: bytes | bytearray, at: int) -> tuple[int, int] | None:
    """Look behind a GRE header of version 0 (__skb_flow_dissect_gre)."""
    if len(data) < at + 4:
        return None
    flags, ethertype = get16(data, at), get16(data, at + 2)
    if flags & (GRE_ROUTING | GRE_VERSION):
        return None
    at += 4 + 4 * sum(bool(flags & bit) for bit in (GRE_CSUM, GRE_KEY, GRE_SEQ))
    if ethertype == ETH_P_TEB:
        if len(data) < at + ETH_HLEN:
            return None
        ethertype, at = get16(data, at + 12), at + ETH_HLEN
    return ethertype, at
