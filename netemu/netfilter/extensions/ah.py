"""The SPI of an IPv4 authentication header: match `ah`.

Kernel: net/ipv4/netfilter/ipt_ah.c (ah_mt).
"""

from __future__ import annotations

from netemu.netfilter.hook import Family
from netemu.netfilter.xtables.kinds import U32_MAX, Span, UnsignedRange
from netemu.netfilter.xtables.kit import Match, Option, Settings, always
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.space import same_for_all
from netemu.netfilter.xtables.spi import ANY_SPI, SpiInfo
from netemu.skb import Skb
from netemu.wire.fields import get32
from netemu.wire.ipv4 import IPPROTO_AH

AH_HEADER_LEN = 12
"""Without the authentication data (struct ip_auth_hdr)."""

SPI = 4
"""Offset in the header."""


def build_ah(settings: Settings) -> SpiInfo:
    """Take the one option."""
    span = settings.get("ahspi", Span, ANY_SPI)
    return SpiInfo(span, invert=settings.inverted("ahspi"))


def ah_mt(info: SpiInfo, skb: Skb, param: XtParam) -> bool:
    """Compare the SPI; a header that is cut short drops the packet."""
    if param.fragoff:
        return False
    if len(skb.data) < param.thoff + AH_HEADER_LEN:
        param.hotdrop = True
        return False
    return info.holds(get32(skb.data, param.thoff + SPI))


def describe_ah(info: SpiInfo, skb: Skb, param: XtParam) -> str:
    """Say the SPI."""
    if param.fragoff or len(skb.data) < param.thoff + AH_HEADER_LEN:
        return "no authentication header"
    return f"spi {get32(skb.data, param.thoff + SPI)}"


MATCHES = (
    Match(
        name="ah",
        kernel="ipt_ah.c",
        duty="Compares the SPI of the IPv4 authentication header.",
        options=(
            Option(
                "ahspi",
                UnsignedRange(U32_MAX),
                invertible=True,
                silent=ANY_SPI,
                help="An SPI, or a range with both ends included.",
            ),
        ),
        protocols=(IPPROTO_AH,),
        families=(Family.IPV4,),
        shares=always,
        build=build_ah,
        evaluate=ah_mt,
        packets=same_for_all,
        describe=describe_ah,
    ),
)
