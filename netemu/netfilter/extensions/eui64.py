"""Whether the source address is made from the sender's MAC address: match `eui64`.

Kernel: net/ipv6/netfilter/ip6t_eui64.c (eui64_mt6).
"""

from __future__ import annotations

from netemu.netfilter.hook import Family, Hook
from netemu.netfilter.xtables.kit import Match, always, nothing
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.space import same_for_all
from netemu.skb import ETH_HLEN, ETH_P_IPV6, Skb
from netemu.wire.address import format_mac


def interface_id(mac: bytes) -> bytes:
    """Return the modified EUI-64 of a MAC address (RFC 4291, appendix A).

    >>> interface_id(bytes.fromhex("020000000101")).hex()
    '000000fffe000101'
    """
    return bytes([mac[0] ^ 0x02]) + mac[1:3] + b"\xff\xfe" + mac[3:6]


def eui64_mt6(info: None, skb: Skb, param: XtParam) -> bool:
    """Compare the lower half of the source address."""
    header = skb.mac_header
    if len(header) < ETH_HLEN:
        param.hotdrop = param.fragoff != 0
        return False
    if int.from_bytes(header[12:14], "big") != ETH_P_IPV6 or skb.data[0] >> 4 != 6:
        return False
    return bytes(skb.data[16:24]) == interface_id(header[6:12])


def describe_eui64(info: None, skb: Skb, param: XtParam) -> str:
    """Say the sender's MAC address."""
    header = skb.mac_header
    return f"from {format_mac(header[6:12])}" if len(header) >= ETH_HLEN else "no Ethernet header"


MATCHES = (
    Match(
        name="eui64",
        kernel="ip6t_eui64.c",
        duty="Compares the lower half of the source address with the sender's MAC address.",
        hooks=(Hook.PREROUTING, Hook.INPUT, Hook.FORWARD),
        families=(Family.IPV6,),
        shares=always,
        build=nothing,
        evaluate=eui64_mt6,
        packets=same_for_all,
        describe=describe_eui64,
    ),
)
