"""For whom the link layer meant the packet: match `pkttype`.

Kernel: net/netfilter/xt_pkttype.c (pkttype_mt).

A packet of the node itself counts as unicast, unless it comes back over loopback: there its
destination decides, and whatever is no multicast counts as broadcast.
"""

from __future__ import annotations

from netemu.errors import RulesetError
from netemu.netfilter.hook import Family
from netemu.netfilter.xtables.header import destination_address
from netemu.netfilter.xtables.kinds import Kind, OptionCall
from netemu.netfilter.xtables.kit import Match, Option, Settings, always
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.space import Field, PacketSpace
from netemu.skb import PacketType, Skb
from netemu.wire.address import ipv4_is_multicast

TYPES = {
    "unicast": PacketType.HOST,
    "broadcast": PacketType.BROADCAST,
    "multicast": PacketType.MULTICAST,
    "otherhost": PacketType.OTHERHOST,
}

_SYNONYMS = {
    "host": PacketType.HOST,
    "bcast": PacketType.BROADCAST,
    "mcast": PacketType.MULTICAST,
}

IPV6_MULTICAST = 0xFF
"""First octet of an IPv6 multicast address."""


class PacketTypeKind(Kind[PacketType]):
    """A word, in any case (parse_pkttype)."""

    form = "TYPE"
    terminal = "TEXT"
    may_be_empty = True

    def read(self, text: str, call: OptionCall) -> PacketType:
        """Look the word up."""
        found = (TYPES | _SYNONYMS).get(text.lower())
        if found is None:
            raise RulesetError(f"Bad packet type '{text}'; it takes {', '.join(TYPES)}")
        return found

    def show(self, value: PacketType) -> str:
        """Print the first name."""
        return next(name for name, number in TYPES.items() if number == value)


class PkttypeInfo:
    """struct xt_pkttype_info."""

    __slots__ = ("invert", "wanted")

    def __init__(self, settings: Settings) -> None:
        """Take the one option apart."""
        self.wanted = settings.need("pkt-type", PacketType)
        self.invert = settings.inverted("pkt-type")


def packet_type(skb: Skb, family: Family) -> PacketType:
    """Return the type that counts."""
    if skb.pkt_type != PacketType.LOOPBACK:
        return skb.pkt_type
    address = destination_address(skb, family)
    multicast = (
        address[0] == IPV6_MULTICAST if family == Family.IPV6 else ipv4_is_multicast(address)
    )
    return PacketType.MULTICAST if multicast else PacketType.BROADCAST


def pkttype_mt(info: PkttypeInfo, skb: Skb, param: XtParam) -> bool:
    """Compare."""
    return (packet_type(skb, param.family) == info.wanted) != info.invert


def pkttype_packets(info: PkttypeInfo, space: PacketSpace) -> int:
    """Return the packets of frames of this type; all rules are told alike which it is.

    What the node itself sends is unicast until it comes in again.
    """
    own = space.masked(Field.IN_DEVICE, 0)
    left, sets = space.outside(own), {}
    for kind in (PacketType.BROADCAST, PacketType.MULTICAST, PacketType.OTHERHOST):
        frame = space.fact(f"a frame of type {kind.name.lower()}")
        sets[kind] = space.both(left, frame)
        left = space.both(left, space.outside(frame))
    sets[PacketType.HOST] = space.either(own, left)
    return space.when(info.invert, sets[info.wanted])


def describe_pkttype(info: PkttypeInfo, skb: Skb, param: XtParam) -> str:
    """Say the type."""
    found = packet_type(skb, param.family)
    return next((name for name, number in TYPES.items() if number == found), found.name.lower())


MATCHES = (
    Match(
        name="pkttype",
        kernel="xt_pkttype.c",
        duty="Compares for whom the link layer meant the packet.",
        options=(
            Option(
                "pkt-type",
                PacketTypeKind(),
                invertible=True,
                mandatory=True,
                help="unicast, broadcast, multicast or otherhost.",
                says="the link layer's packet type {is} {value}",
            ),
        ),
        shares=always,
        build=PkttypeInfo,
        evaluate=pkttype_mt,
        packets=pkttype_packets,
        describe=describe_pkttype,
    ),
)
