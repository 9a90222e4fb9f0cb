"""The authentication header of IPv6: match `ah`.

Kernel: net/ipv6/netfilter/ip6t_ah.c (ah_mt6).

In IPv6 it is found among the extension headers, whatever the rule's -p; a length of 0 is no test.
"""

from __future__ import annotations

from netemu.netfilter.hook import Family
from netemu.netfilter.xtables.ip6 import NEXTHDR_AUTH, Missing, ipv6_authlen, ipv6_find_hdr
from netemu.netfilter.xtables.kinds import U32, U32_MAX, Span, UnsignedRange
from netemu.netfilter.xtables.kit import Match, Option, Settings, always
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.space import same_for_all
from netemu.skb import Skb

_ANY = Span(0, U32_MAX)
_HEADER_LEN = 12
"""struct ip_auth_hdr without its data."""


class Ah6:
    """struct ip6t_ah."""

    __slots__ = ("invert_len", "invert_spi", "length", "reserved", "spi")

    def __init__(self, settings: Settings) -> None:
        """Take the options apart."""
        self.spi = settings.get("ahspi", Span, _ANY)
        self.invert_spi = settings.inverted("ahspi")
        self.length = settings.get("ahlen", int, 0)
        self.invert_len = settings.inverted("ahlen")
        self.reserved = "ahres" in settings


def ah_mt6(info: Ah6, skb: Skb, param: XtParam) -> bool:
    """Find the header and compare its fields."""
    data = skb.data
    found = ipv6_find_hdr(data, NEXTHDR_AUTH)
    if isinstance(found, Missing):
        param.hotdrop = found.malformed
        return False
    at = found.offset
    if len(data) < at + _HEADER_LEN:
        param.hotdrop = True
        return False
    spi = int.from_bytes(data[at + 4 : at + 8], "big")
    return (
        (info.spi.low <= spi <= info.spi.high) != info.invert_spi
        and (not info.length or (info.length == ipv6_authlen(data, at)) != info.invert_len)
        and not (info.reserved and any(data[at + 2 : at + 4]))
    )


def describe_ah6(info: Ah6, skb: Skb, param: XtParam) -> str:
    """Say the SPI."""
    found = ipv6_find_hdr(skb.data, NEXTHDR_AUTH)
    if isinstance(found, Missing):
        return "no authentication header"
    return f"spi {int.from_bytes(skb.data[found.offset + 4 : found.offset + 8], 'big')}"


MATCHES = (
    Match(
        name="ah",
        kernel="ip6t_ah.c",
        duty="Looks at the authentication header among the extension headers.",
        options=(
            Option(
                "ahspi", UnsignedRange(U32_MAX), invertible=True, silent=_ANY, help="SPI, or range."
            ),
            Option(
                "ahlen",
                U32(),
                invertible=True,
                silent=lambda given: not given.value and not given.inverted,
                help="Octets of the header; 0 is no test.",
            ),
            Option("ahres", help="The reserved field must be 0."),
        ),
        families=(Family.IPV6,),
        shares=always,
        build=Ah6,
        evaluate=ah_mt6,
        packets=same_for_all,
        describe=describe_ah6,
    ),
)
