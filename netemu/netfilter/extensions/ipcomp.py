"""The CPI of an IPComp header: match `ipcomp`.

Kernel: net/netfilter/xt_ipcomp.c (comp_mt).

The kernel reads --compres and never looks at it; a rule without --ipcompspi asks for CPI 0.
"""

from __future__ import annotations

from netemu.netfilter.xtables.kinds import U32_MAX, Span, UnsignedRange
from netemu.netfilter.xtables.kit import Match, Option, Settings, always
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.space import same_for_all
from netemu.netfilter.xtables.spi import ANY_SPI, SpiInfo
from netemu.skb import Skb
from netemu.wire.fields import get16

IPPROTO_COMP = 108
IPCOMP_HEADER_LEN = 4
"""Next header, flags, CPI (struct ip_comp_hdr)."""

CPI = 2
"""Offset in the header."""


def build_ipcomp(settings: Settings) -> SpiInfo:
    """Take the one option that counts."""
    span = settings.need("ipcompspi", Span)
    return SpiInfo(span, invert=settings.inverted("ipcompspi"))


def comp_mt(info: SpiInfo, skb: Skb, param: XtParam) -> bool:
    """Compare the CPI; a header that is cut short drops the packet."""
    if param.fragoff:
        return False
    if len(skb.data) < param.thoff + IPCOMP_HEADER_LEN:
        param.hotdrop = True
        return False
    return info.holds(get16(skb.data, param.thoff + CPI))


def describe_ipcomp(info: SpiInfo, skb: Skb, param: XtParam) -> str:
    """Say the CPI."""
    if param.fragoff or len(skb.data) < param.thoff + IPCOMP_HEADER_LEN:
        return "no IPComp header"
    return f"cpi {get16(skb.data, param.thoff + CPI)}"


MATCHES = (
    Match(
        name="ipcomp",
        kernel="xt_ipcomp.c",
        duty="Compares the CPI of the IPComp header.",
        options=(
            Option(
                "ipcompspi",
                UnsignedRange(U32_MAX),
                invertible=True,
                default=Span(0, 0),
                silent=ANY_SPI,
                help="A CPI, or a range with both ends included.",
            ),
            Option("compres", help="Kept and printed; the kernel does not look at it."),
        ),
        protocols=(IPPROTO_COMP,),
        shares=always,
        build=build_ipcomp,
        evaluate=comp_mt,
        packets=same_for_all,
        describe=describe_ipcomp,
    ),
)
