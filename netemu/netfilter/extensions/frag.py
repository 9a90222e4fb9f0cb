"""The fragment header of IPv6: match `frag`.

Kernel: net/ipv6/netfilter/ip6t_frag.c (frag_mt6).

The kernel compares no length: --fraglen is kept and printed only.
"""

from __future__ import annotations

from netemu.netfilter.hook import Family
from netemu.netfilter.xtables.ip6 import (
    FRAGMENT_HEADER_LEN,
    NEXTHDR_FRAGMENT,
    Missing,
    ipv6_find_hdr,
)
from netemu.netfilter.xtables.kinds import U32, U32_MAX, Span, UnsignedRange
from netemu.netfilter.xtables.kit import Match, Option, Settings, always
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.space import same_for_all
from netemu.skb import Skb

_ANY = Span(0, U32_MAX)
MORE = 0x0001
RESERVED = 0x0006
OFFSET = 0xFFF8


class Frag:
    """struct ip6t_frag."""

    __slots__ = ("first", "ids", "invert_ids", "last", "more", "reserved")

    def __init__(self, settings: Settings) -> None:
        """Take the options apart."""
        self.ids = settings.get("fragid", Span, _ANY)
        self.invert_ids = settings.inverted("fragid")
        self.reserved = "fragres" in settings
        self.first = "fragfirst" in settings
        self.more = "fragmore" in settings
        self.last = "fraglast" in settings


def frag_mt6(info: Frag, skb: Skb, param: XtParam) -> bool:
    """Find the header and compare its fields."""
    data = skb.data
    found = ipv6_find_hdr(data, NEXTHDR_FRAGMENT)
    if isinstance(found, Missing):
        param.hotdrop = found.malformed
        return False
    at = found.offset
    if len(data) < at + FRAGMENT_HEADER_LEN:
        param.hotdrop = True
        return False
    word = data[at + 2] << 8 | data[at + 3]
    number = int.from_bytes(data[at + 4 : at + 8], "big")
    if (info.ids.low <= number <= info.ids.high) == info.invert_ids:
        return False
    return not (
        (info.reserved and (data[at + 1] or word & RESERVED))
        or (info.first and word & OFFSET)
        or (info.more and not word & MORE)
        or (info.last and word & MORE)
    )


def describe_frag(info: Frag, skb: Skb, param: XtParam) -> str:
    """Say id, offset and whether more follow."""
    data = skb.data
    found = ipv6_find_hdr(data, NEXTHDR_FRAGMENT)
    if isinstance(found, Missing) or len(data) < found.offset + FRAGMENT_HEADER_LEN:
        return "no fragment header"
    word = int.from_bytes(data[found.offset + 2 : found.offset + 4], "big")
    number = int.from_bytes(data[found.offset + 4 : found.offset + 8], "big")
    return f"id {number} offset {word & OFFSET}{' more follow' if word & MORE else ''}"


MATCHES = (
    Match(
        name="frag",
        kernel="ip6t_frag.c",
        duty="Looks at the fragment header.",
        options=(
            Option(
                "fragid",
                UnsignedRange(U32_MAX),
                invertible=True,
                silent=_ANY,
                help="Identification.",
            ),
            Option("fraglen", U32(), invertible=True, help="Kept and printed, not compared."),
            Option("fragres", help="The reserved fields must be 0."),
            Option("fragfirst", help="The first fragment."),
            Option("fragmore", excludes=("fraglast",), help="More fragments follow."),
            Option("fraglast", excludes=("fragmore",), help="The last fragment."),
        ),
        families=(Family.IPV6,),
        shares=always,
        build=Frag,
        evaluate=frag_mt6,
        packets=same_for_all,
        describe=describe_frag,
    ),
)
