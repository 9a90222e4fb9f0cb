"""The routing header of IPv6: match `rt`.

Kernel: net/ipv6/netfilter/ip6t_rt.c (rt_mt6, rt_mt6_check).

A header that says it is longer than the packet never matches; a packet that ends within its headers
is dropped.
"""

from __future__ import annotations

from netemu.errors import RulesetError
from netemu.netfilter.hook import Family
from netemu.netfilter.xtables.addresses import ipv6_octets
from netemu.netfilter.xtables.ip6 import NEXTHDR_ROUTING, Missing, ipv6_find_hdr, ipv6_optlen
from netemu.netfilter.xtables.kinds import U32, U32_MAX, Kind, OptionCall, Span, UnsignedRange
from netemu.netfilter.xtables.kit import Match, Option, Settings, always
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.space import same_for_all
from netemu.skb import Skb
from netemu.wire.address import format_address

MAX_ADDRESSES = 16
"""IP6T_RT_HOPS."""

_ANY = Span(0, U32_MAX)
_RT0_LEN = 8
"""Octets before the addresses of a type 0 header."""


class AddressList(Kind[tuple[bytes, ...]]):
    """Up to 16 addresses joined by commas (parse_addresses)."""

    form = "ADDRESS[,ADDRESS...]"
    terminal = "TEXT"
    may_be_empty = True

    def read(self, text: str, call: OptionCall) -> tuple[bytes, ...]:
        """Convert each."""
        parts = text.split(",")
        addresses = []
        for part in parts[:MAX_ADDRESSES]:
            address = ipv6_octets(part)
            if address is None:
                raise RulesetError(f"bad address: {part}; IPv6 addresses would do")
            addresses.append(address)
        if len(parts) > MAX_ADDRESSES:
            raise RulesetError(f"too many addresses specified; {MAX_ADDRESSES} would do")
        return tuple(addresses)

    def show(self, value: tuple[bytes, ...]) -> str:
        """Join them again."""
        return ",".join(format_address(address) for address in value)


class Rt:
    """struct ip6t_rt."""

    __slots__ = (
        "addresses",
        "invert_len",
        "invert_segsleft",
        "invert_type",
        "length",
        "not_strict",
        "reserved",
        "segsleft",
        "type",
    )

    def __init__(self, settings: Settings) -> None:
        """Take the options apart."""
        self.type = settings.get("rt-type", int)
        self.invert_type = settings.inverted("rt-type")
        self.segsleft = settings.get("rt-segsleft", Span, _ANY)
        self.invert_segsleft = settings.inverted("rt-segsleft")
        self.length = settings.get("rt-len", int)
        self.invert_len = settings.inverted("rt-len")
        self.reserved = "rt-0-res" in settings
        given = settings.given.get("rt-0-addrs")
        self.addresses: tuple[bytes, ...] | None = None
        if given is not None:
            assert isinstance(given.value, tuple)
            self.addresses = given.value
        self.not_strict = "rt-0-not-strict" in settings


def rt_mt6(info: Rt, skb: Skb, param: XtParam) -> bool:
    """Find the header, compare its fields, then its addresses."""
    data = skb.data
    found = ipv6_find_hdr(data, NEXTHDR_ROUTING)
    if isinstance(found, Missing):
        param.hotdrop = found.malformed
        return False
    at = found.offset
    header_len = ipv6_optlen(data, at)
    if len(data) - at < header_len:
        return False
    segsleft = info.segsleft.low <= data[at + 3] <= info.segsleft.high
    if (
        segsleft == info.invert_segsleft
        or (info.length is not None and (info.length == header_len) == info.invert_len)
        or (info.type is not None and (info.type == data[at + 2]) == info.invert_type)
        or (info.reserved and any(data[at + 4 : at + 8]))
    ):
        return False
    if info.addresses is None:
        return True
    count = (header_len - _RT0_LEN) // 16
    first = at + _RT0_LEN
    hops = [bytes(data[first + 16 * hop : first + 16 * hop + 16]) for hop in range(count)]
    return _visits(hops, info.addresses) if info.not_strict else tuple(hops) == info.addresses


def _visits(hops: list[bytes], wanted: tuple[bytes, ...]) -> bool:
    """Return whether the wanted addresses are among the hops, in their order."""
    left = iter(hops)
    return all(address in left for address in wanted)


def describe_rt(info: Rt, skb: Skb, param: XtParam) -> str:
    """Say type and segments left."""
    data = skb.data
    found = ipv6_find_hdr(data, NEXTHDR_ROUTING)
    if isinstance(found, Missing):
        return "no routing header"
    return f"type {data[found.offset + 2]}, {data[found.offset + 3]} segments left"


def _check_rt(settings: Settings) -> None:
    """Test what must stand before what (rt_parse)."""
    before: set[str] = set()
    for option, value, inverted in settings.order:
        name = option.name
        if name in {"rt-0-res", "rt-0-addrs"} and "type 0" not in before:
            raise RulesetError(f"`--rt-type 0' required before `--{name}'")
        if name == "rt-0-not-strict" and "rt-0-addrs" not in before:
            raise RulesetError("`--rt-0-addr ...' required before `--rt-0-not-strict'")
        before.add("type 0" if name == "rt-type" and value == 0 and not inverted else name)


MATCHES = (
    Match(
        name="rt",
        kernel="ip6t_rt.c",
        duty="Looks at the routing header.",
        options=(
            Option("rt-type", U32(), invertible=True, help="Type of the header."),
            Option(
                "rt-segsleft",
                UnsignedRange(U32_MAX),
                invertible=True,
                silent=_ANY,
                help="Segments that are left.",
            ),
            Option("rt-len", U32(), invertible=True, help="Octets of the header."),
            Option("rt-0-res", help="The reserved field must be 0; behind --rt-type 0."),
            Option("rt-0-addrs", AddressList(), help="Exactly these addresses; type 0."),
            Option("rt-0-not-strict", help="These addresses in this order among others."),
        ),
        families=(Family.IPV6,),
        check=_check_rt,
        shares=always,
        build=Rt,
        evaluate=rt_mt6,
        packets=same_for_all,
        describe=describe_rt,
    ),
)
