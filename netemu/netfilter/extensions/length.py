"""The length of the packet: match `length`.

Kernel: net/netfilter/xt_length.c (length_mt, length_mt6).

IPv4's total length counts, of a fragment that of the fragment; of IPv6 the whole packet.
"""

from __future__ import annotations

from netemu.netfilter.hook import Family
from netemu.netfilter.xtables.kinds import Span, UnsignedRange
from netemu.netfilter.xtables.kit import Match, Option, Settings, always
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.space import Field, PacketSpace
from netemu.skb import Skb
from netemu.wire.fields import get16

LENGTH_MAX = 0xFFFF


class LengthInfo:
    """struct xt_length_info."""

    __slots__ = ("high", "invert", "low")

    def __init__(self, settings: Settings) -> None:
        """Take the one option apart."""
        span = settings.need("length", Span)
        self.low = span.low
        self.high = span.high
        self.invert = settings.inverted("length")


def packet_length(skb: Skb, family: Family) -> int:
    """Return what the match compares."""
    return len(skb.data) if family == Family.IPV6 else get16(skb.data, 2)


def length_mt(info: LengthInfo, skb: Skb, param: XtParam) -> bool:
    """Compare the length with both ends."""
    return (info.low <= packet_length(skb, param.family) <= info.high) != info.invert


def length_packets(info: LengthInfo, space: PacketSpace) -> int:
    """Return the packets of such a length."""
    return space.when(info.invert, space.span(Field.LENGTH, info.low, info.high))


def describe_length(info: LengthInfo, skb: Skb, param: XtParam) -> str:
    """Say the length."""
    return f"length {packet_length(skb, param.family)}"


MATCHES = (
    Match(
        name="length",
        kernel="xt_length.c",
        duty="Compares the length of the IP packet in octets, its header included.",
        options=(
            Option(
                "length",
                UnsignedRange(LENGTH_MAX),
                invertible=True,
                mandatory=True,
                help="A length, or a range with both ends included.",
                says="its length in octets {is} {value}",
            ),
        ),
        shares=always,
        build=LengthInfo,
        evaluate=length_mt,
        packets=length_packets,
        describe=describe_length,
    ),
)
