"""Addresses of a packet of either family.

Kernel: include/uapi/linux/ip.h (struct iphdr), include/uapi/linux/ipv6.h (struct ipv6hdr).
"""

from __future__ import annotations

from netemu.netfilter.hook import Family
from netemu.skb import Skb


def source_address(skb: Skb, family: Family) -> bytes:
    """Return the packed source address."""
    return bytes(skb.data[8:24] if family == Family.IPV6 else skb.data[12:16])


def destination_address(skb: Skb, family: Family) -> bytes:
    """Return the packed destination address."""
    return bytes(skb.data[24:40] if family == Family.IPV6 else skb.data[16:20])
