"""How many routers a packet may still pass: matches `ttl` (IPv4) and `hl` (IPv6).

Kernel: net/netfilter/xt_hl.c (ttl_mt, hl_mt6).
"""

from __future__ import annotations

from msgspec import Struct

from netemu.errors import RulesetError
from netemu.netfilter.hook import Family
from netemu.netfilter.xtables.kinds import U8
from netemu.netfilter.xtables.kit import CheckFunction, Match, Option, Settings, always
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.space import Field, PacketSpace
from netemu.skb import Skb
from netemu.wire.ipv4 import TTL

HOP_LIMIT = 7
"""Offset in the IPv6 header."""


class HopLimitTest(Struct, frozen=True):
    """struct ipt_ttl_info and ip6t_hl_info."""

    operation: str
    """`eq`, `ne`, `lt` or `gt`."""
    value: int


def build_test(settings: Settings) -> HopLimitTest:
    """Take the one option."""
    (name,) = settings.given
    operation = name.partition("-")[2]
    return HopLimitTest("ne" if settings.inverted(name) else operation, settings.need(name, int))


def hop_limit(skb: Skb, family: Family) -> int:
    """Return TTL or hop limit."""
    return skb.data[HOP_LIMIT if family == Family.IPV6 else TTL]


def ttl_mt(info: HopLimitTest, skb: Skb, param: XtParam) -> bool:
    """Compare."""
    found = hop_limit(skb, param.family)
    if info.operation == "eq":
        return found == info.value
    if info.operation == "ne":
        return found != info.value
    return found < info.value if info.operation == "lt" else found > info.value


def ttl_packets(info: HopLimitTest, space: PacketSpace) -> int:
    """Return the packets that have so much left."""
    if info.operation == "lt":
        return space.span(Field.TTL, 0, info.value - 1)
    if info.operation == "gt":
        return space.span(Field.TTL, info.value + 1, 0xFF)
    return space.when(info.operation == "ne", space.masked(Field.TTL, info.value))


def describe_ttl(info: HopLimitTest, skb: Skb, param: XtParam) -> str:
    """Say what the packet has left."""
    word = "hop limit" if param.family == Family.IPV6 else "ttl"
    return f"{word} {hop_limit(skb, param.family)}"


def _check(name: str) -> CheckFunction:
    def check(settings: Settings) -> None:
        if not settings.given:
            raise RulesetError(
                f"{name.upper()} match: You must specify one of "
                f"`--{name}-eq', `--{name}-lt', `--{name}-gt'"
            )

    return check


def _options(name: str, what: str) -> tuple[Option, ...]:
    names = (f"{name}-eq", f"{name}-lt", f"{name}-gt")
    equal, less, greater = (tuple(other for other in names if other != one) for one in names)
    return (
        Option(
            names[0],
            U8(),
            aliases=(name,),
            invertible=True,
            excludes=equal,
            help=f"The {what} is this.",
            says=f"the {what} {{is}} {{value}}",
        ),
        Option(
            names[1],
            U8(),
            excludes=less,
            help=f"The {what} is less.",
            says=f"the {what} is less than {{value}}",
        ),
        Option(
            names[2],
            U8(),
            excludes=greater,
            help=f"The {what} is greater.",
            says=f"the {what} is greater than {{value}}",
        ),
    )


def _match(name: str, what: str, family: Family) -> Match[HopLimitTest]:
    return Match(
        name=name,
        kernel="xt_hl.c",
        duty=f"Compares the {what} that the packet has left.",
        options=_options(name, what),
        families=(family,),
        check=_check(name),
        shares=always,
        build=build_test,
        evaluate=ttl_mt,
        packets=ttl_packets,
        describe=describe_ttl,
    )


MATCHES = (_match("ttl", "TTL", Family.IPV4), _match("hl", "hop limit", Family.IPV6))
