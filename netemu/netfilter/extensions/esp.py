"""The SPI of an ESP header: match `esp`.

Kernel: net/netfilter/xt_esp.c (esp_mt).
"""

from __future__ import annotations

from netemu.netfilter.xtables.kinds import U32_MAX, Span, UnsignedRange
from netemu.netfilter.xtables.kit import Match, Option, Settings, always
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.space import same_for_all
from netemu.netfilter.xtables.spi import ANY_SPI, SpiInfo
from netemu.skb import Skb
from netemu.wire.fields import get32
from netemu.wire.ipv4 import IPPROTO_ESP

ESP_HEADER_LEN = 8
"""SPI and sequence number (struct ip_esp_hdr)."""


def build_esp(settings: Settings) -> SpiInfo:
    """Take the one option."""
    span = settings.get("espspi", Span, ANY_SPI)
    return SpiInfo(span, invert=settings.inverted("espspi"))


def esp_mt(info: SpiInfo, skb: Skb, param: XtParam) -> bool:
    """Compare the SPI; a header that is cut short drops the packet."""
    if param.fragoff:
        return False
    if len(skb.data) < param.thoff + ESP_HEADER_LEN:
        param.hotdrop = True
        return False
    return info.holds(get32(skb.data, param.thoff))


def describe_esp(info: SpiInfo, skb: Skb, param: XtParam) -> str:
    """Say the SPI."""
    if param.fragoff or len(skb.data) < param.thoff + ESP_HEADER_LEN:
        return "no ESP header"
    return f"spi {get32(skb.data, param.thoff)}"


MATCHES = (
    Match(
        name="esp",
        kernel="xt_esp.c",
        duty="Compares the SPI of the ESP header.",
        options=(
            Option(
                "espspi",
                UnsignedRange(U32_MAX),
                invertible=True,
                silent=ANY_SPI,
                help="An SPI, or a range with both ends included.",
            ),
        ),
        protocols=(IPPROTO_ESP,),
        shares=always,
        build=build_esp,
        evaluate=esp_mt,
        packets=same_for_all,
        describe=describe_esp,
    ),
)
