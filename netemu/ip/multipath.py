"""The hash by which a flow chooses a way of a multipath route.

Kernel: net/ipv4/route.c (fib_multipath_hash).

Theory of operation: net.ipv4.fib_multipath_hash_policy says which parts of the flow count; they are
hashed by SipHash, the smaller address and port first, so that both directions of a flow hash
alike. Its key is net.ipv4.fib_multipath_hash_seed (since 6.11); without it, one is drawn at boot
there and from the seed here.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from netemu.hashing import jhash2
from netemu.ip.fib_table import Flowi4
from netemu.ip.flow_dissector import FlowKeys, skb_flow_dissect
from netemu.net import Net
from netemu.skb import Skb
from netemu.wire.fields import get16
from netemu.wire.ipv4 import IPPROTO_ICMP

POLICY: Final = "net.ipv4.fib_multipath_hash_policy"
FIELDS: Final = "net.ipv4.fib_multipath_hash_fields"
SEED: Final = "net.ipv4.fib_multipath_hash_seed"


class Policy(IntEnum):
    """Values of fib_multipath_hash_policy."""

    L3 = 0
    """Addresses; those of the quoted packet for an ICMP error."""
    L4 = 1
    """Addresses, protocol and ports."""
    INNER_L3 = 2
    """Addresses of the packet in a tunnel."""
    CUSTOM = 3
    """Those of fib_multipath_hash_fields."""


SRC_IP, DST_IP, IP_PROTO, FLOWLABEL, SRC_PORT, DST_PORT = (1 << bit for bit in range(6))
"""Bits of fib_multipath_hash_fields (FIB_MULTIPATH_HASH_FIELD_*)."""

INNER_SHIFT: Final = 6
"""The same again for the packet in a tunnel."""

ALL_FIELDS: Final = (1 << INNER_SHIFT) - 1

ICMP_ERRORS: Final = frozenset({3, 4, 5, 11, 12})
ICMP_HEADER_LEN: Final = 8


def fib_multipath_hash(net: Net, flow: Flowi4, skb: Skb | None = None) -> int:
    """Return 31 bits that stay the same for a flow; `skb` is the packet that is forwarded."""
    key = _key(net)
    policy = net.sysctl.get(POLICY)
    if policy == Policy.CUSTOM:
        return _custom_hash(net.sysctl.get(FIELDS), flow, skb, key) >> 1
    if policy == Policy.L4:
        keys = _of_flow(flow) if skb is None else _outer(skb)
    else:
        keys = FlowKeys(saddr=flow.saddr, daddr=flow.daddr) if skb is None else _l3(skb, policy)
    return keys.hash(key) >> 1


def _custom_hash(fields: int, flow: Flowi4, skb: Skb | None, key: tuple[int, int]) -> int:
    outer_fields, inner_fields = fields & ALL_FIELDS, fields >> INNER_SHIFT & ALL_FIELDS
    if skb is None:
        return _wanted(_of_flow(flow), outer_fields).hash(key) if outer_fields else 0
    outer = skb_flow_dissect(skb.data, into_tunnels=False)
    outer_hash = inner_hash = 0
    if outer_fields:
        outer_hash = _wanted(outer, outer_fields & ~FLOWLABEL).hash(key)
    if inner_fields and (outer.encapsulated or not outer_fields):
        inner = skb_flow_dissect(skb.data, into_tunnels=True)
        if inner.encapsulated:
            inner_hash = _wanted(inner, inner_fields).hash(key)
    return jhash2([outer_hash, inner_hash], 0)


def _wanted(keys: FlowKeys, fields: int) -> FlowKeys:
    """Return the keys that count, the others zero."""
    nowhere = bytes(len(keys.saddr))
    return FlowKeys(
        saddr=keys.saddr if fields & SRC_IP else nowhere,
        daddr=keys.daddr if fields & DST_IP else nowhere,
        protocol=keys.protocol if fields & IP_PROTO else 0,
        src_port=keys.src_port if fields & SRC_PORT else 0,
        dst_port=keys.dst_port if fields & DST_PORT else 0,
        flow_label=keys.flow_label if fields & FLOWLABEL else 0,
    )


def _of_flow(flow: Flowi4) -> FlowKeys:
    return FlowKeys(flow.saddr, flow.daddr, flow.protocol, flow.src_port, flow.dst_port)


def _outer(skb: Skb) -> FlowKeys:
    return skb_flow_dissect(skb.data, into_tunnels=False)


def _l3(skb: Skb, policy: int) -> FlowKeys:
    """Return the addresses that count under policies 0 and 2."""
    if policy == Policy.INNER_L3:
        keys = skb_flow_dissect(skb.data, into_tunnels=True)
        if len(keys.saddr) == 4:
            return FlowKeys(saddr=keys.saddr, daddr=keys.daddr)
        return _wanted(keys, SRC_IP | DST_IP | IP_PROTO | FLOWLABEL)
    data, at = skb.data, 0
    start = skb.transport_offset
    first = not get16(data, 6) & 0x1FFF
    if (
        first
        and data[9] == IPPROTO_ICMP
        and len(data) >= start + ICMP_HEADER_LEN + 20
        and data[start] in ICMP_ERRORS
    ):
        at = start + ICMP_HEADER_LEN  # ip_multipath_l3_keys
    return FlowKeys(saddr=bytes(data[at + 12 : at + 16]), daddr=bytes(data[at + 16 : at + 20]))


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
