"""The hash by which a flow chooses a way of a multipath route.

Kernel: net/ipv4/route.c (fib_multipath_hash), net/core/flow_dissector.c (flow_hash_from_keys_seed),
include/net/flow_dissector.h (struct flow_keys).

Theory of operation: a SipHash of a structure in which the wanted parts of the flow stand, the
smaller address and port first, so that both directions of a flow hash alike. Its key is
net.ipv4.fib_multipath_hash_seed (since 6.11); without it, one is drawn at boot there and from the
seed here.

Differs from Linux: net.ipv4.fib_multipath_hash_policy 2 and the inner fields of policy 3 do not
look into tunnels; they hash the outer packet, as for one that is no tunnel.
"""

from __future__ import annotations

import struct
from typing import Final

from netemu.hashing import jhash2, siphash
from netemu.ip.fib_table import Flowi4
from netemu.net import Net
from netemu.skb import Skb
from netemu.wire.fields import get16
from netemu.wire.ipv4 import (
    IPPROTO_DCCP,
    IPPROTO_ESP,
    IPPROTO_ICMP,
    IPPROTO_SCTP,
    IPPROTO_TCP,
    IPPROTO_UDP,
    IPPROTO_UDPLITE,
)

POLICY: Final = "net.ipv4.fib_multipath_hash_policy"
FIELDS: Final = "net.ipv4.fib_multipath_hash_fields"
SEED: Final = "net.ipv4.fib_multipath_hash_seed"

SRC_IP, DST_IP, IP_PROTO, SRC_PORT, DST_PORT = 1, 2, 4, 16, 32
"""Bits of fib_multipath_hash_fields (FIB_MULTIPATH_HASH_FIELD_*)."""

OUTER_FIELDS: Final = SRC_IP | DST_IP | IP_PROTO | SRC_PORT | DST_PORT

L3_FIELDS: Final = SRC_IP | DST_IP
"""What policies 0 and 2 look at."""

PORT_PROTOCOLS: Final = frozenset(
    (IPPROTO_TCP, IPPROTO_UDP, IPPROTO_UDPLITE, IPPROTO_DCCP, IPPROTO_SCTP, IPPROTO_ESP)
)
"""Protocols whose first four octets are ports or stand for them (proto_ports_offset)."""

ICMP_ERRORS: Final = frozenset({3, 4, 5, 11, 12})
ICMP_HEADER_LEN: Final = 8

FLOW_KEYS: Final = struct.Struct("<HBx4x8x8x4xHH4x4s4s4x")
"""The part of struct flow_keys that is hashed for IPv4: protocols, then room for flow label, two
VLAN tags and a key, ports, room for ICMP, addresses."""


def fib_multipath_hash(net: Net, flow: Flowi4, skb: Skb | None = None) -> int:
    """Return 31 bits that stay the same for a flow; `skb` is the packet that is forwarded."""
    policy = net.sysctl.get(POLICY)
    if policy == 1:
        value = _hash(net, _l4_flow(flow, skb), OUTER_FIELDS)
    elif policy == 3:
        fields = net.sysctl.get(FIELDS) & OUTER_FIELDS
        value = _hash(net, _l4_flow(flow, skb), fields) if fields else 0
        if skb is not None:
            value = jhash2([value, 0], 0)
    else:
        l3_flow = _l3_flow(skb) if skb is not None and not policy else flow
        value = _hash(net, l3_flow, L3_FIELDS)
    return value >> 1


def _l3_flow(skb: Skb) -> Flowi4:
    """Return the addresses; those of the quoted packet for an ICMP error (ip_multipath_l3_keys)."""
    data, at = skb.data, 0
    start = skb.transport_offset
    first = not get16(data, 6) & 0x1FFF
    if (
        first
        and data[9] == IPPROTO_ICMP
        and len(data) >= start + ICMP_HEADER_LEN + 20
        and data[start] in ICMP_ERRORS
    ):
        at = start + ICMP_HEADER_LEN
    return Flowi4(saddr=bytes(data[at + 12 : at + 16]), daddr=bytes(data[at + 16 : at + 20]))


def _l4_flow(flow: Flowi4, skb: Skb | None) -> Flowi4:
    """Return addresses, protocol and ports of the packet, or of the flow without one."""
    if skb is None:
        return flow
    data = skb.data
    start = skb.transport_offset
    found = Flowi4(saddr=bytes(data[12:16]), daddr=bytes(data[16:20]), protocol=data[9])
    whole = not get16(data, 6) & 0x3FFF
    if whole and data[9] in PORT_PROTOCOLS and len(data) >= start + 4:
        found.src_port, found.dst_port = get16(data, start), get16(data, start + 2)
    return found


def _hash(net: Net, flow: Flowi4, fields: int) -> int:
    """Hash the wanted fields (fib_multipath_hash_from_keys); the result is never 0."""
    addresses = sorted(
        (
            flow.saddr if fields & SRC_IP else bytes(4),
            flow.daddr if fields & DST_IP else bytes(4),
        ),
        key=_as_in_memory,
    )
    ports = sorted(
        (
            _swapped(flow.src_port) if fields & SRC_PORT else 0,
            _swapped(flow.dst_port) if fields & DST_PORT else 0,
        )
    )
    protocol = flow.protocol if fields & IP_PROTO else 0
    keys = FLOW_KEYS.pack(0, protocol, *ports, *addresses)
    return siphash(keys, _key(net)) & 0xFFFFFFFF or 1


def _as_in_memory(address: bytes) -> int:
    """Return an address as a little-endian machine compares it (__flow_hash_consistentify)."""
    return int.from_bytes(address, "little")


def _swapped(port: int) -> int:
    return (port & 0xFF) << 8 | port >> 8


def _key(net: Net) -> tuple[int, int]:
    """Return the SipHash key (fib_multipath_hash_construct_key)."""
    seed = net.sysctl.get(SEED) if net.kernel != "6.1" else 0
    seed = seed or net.generic(DrawnSeed).seed
    half = seed << 32 | seed
    return half, half


class DrawnSeed:
    """The seed of a namespace that was given none."""

    __slots__ = ("seed",)

    def __init__(self, net: Net) -> None:
        """Draw it; found by `net.generic(DrawnSeed)`."""
        self.seed = net.entropy.stream("ecmp").u32()
