"""ICMPv6 type and code: match `icmp6`.

Kernel: net/ipv6/netfilter/ip6_tables.c (icmp6_match, icmp6_type_code_match).

Unlike in IPv4, no number stands for every type.
"""

from __future__ import annotations

from netemu.errors import RulesetError
from netemu.netfilter.extensions.icmp import IcmpType
from netemu.netfilter.hook import Family
from netemu.netfilter.xtables.ip6 import NEXTHDR_ICMP
from netemu.netfilter.xtables.kinds import Kind, OptionCall, c_integer, shape
from netemu.netfilter.xtables.kit import Match, Option, Settings, always
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.space import Field, PacketSpace
from netemu.skb import Skb

HEADER_LEN = 8

ICMPV6_NAMES = {
    "destination-unreachable": IcmpType(1),
    "no-route": IcmpType(1, 0, 0),
    "communication-prohibited": IcmpType(1, 1, 1),
    "beyond-scope": IcmpType(1, 2, 2),
    "address-unreachable": IcmpType(1, 3, 3),
    "port-unreachable": IcmpType(1, 4, 4),
    "failed-policy": IcmpType(1, 5, 5),
    "reject-route": IcmpType(1, 6, 6),
    "packet-too-big": IcmpType(2),
    "time-exceeded": IcmpType(3),
    "ttl-exceeded": IcmpType(3),
    "ttl-zero-during-transit": IcmpType(3, 0, 0),
    "ttl-zero-during-reassembly": IcmpType(3, 1, 1),
    "parameter-problem": IcmpType(4),
    "bad-header": IcmpType(4, 0, 0),
    "unknown-header-type": IcmpType(4, 1, 1),
    "unknown-option": IcmpType(4, 2, 2),
    "echo-request": IcmpType(128),
    "ping": IcmpType(128),
    "echo-reply": IcmpType(129),
    "pong": IcmpType(129),
    "router-solicitation": IcmpType(133),
    "router-advertisement": IcmpType(134),
    "neighbour-solicitation": IcmpType(135),
    "neighbor-solicitation": IcmpType(135),
    "neighbour-advertisement": IcmpType(136),
    "neighbor-advertisement": IcmpType(136),
    "redirect": IcmpType(137),
}
"""Names as `ip6tables -p ipv6-icmp -h` lists them."""


class Icmpv6TypeKind(Kind[IcmpType]):
    """A name or its beginning, `type`, or `type/code`."""

    form = "TYPE[/CODE]"
    terminal = "ICMP_TYPE"
    may_be_empty = True

    def read(self, text: str, call: OptionCall) -> IcmpType:
        """Try the names first; a beginning must be of one name only."""
        start = text.casefold()
        named = [name for name in ICMPV6_NAMES if name.startswith(start)]
        if len(named) > 1:
            raise RulesetError(f"Ambiguous ICMPv6 type `{text}': `{named[0]}' or `{named[1]}'?")
        if named:
            return ICMPV6_NAMES[named[0]]
        type_text, slash, code_text = text.partition("/")
        number = _octet(type_text, f"Unknown ICMPv6 type `{text}'")
        if not slash:
            return IcmpType(number)
        code = _octet(code_text, f"Unknown ICMPv6 code `{text}'")
        return IcmpType(number, code, code)

    def show(self, value: IcmpType) -> str:
        """Print numbers."""
        whole = (value.code_low, value.code_high) == (0, 0xFF)
        return str(value.type) if whole else f"{value.type}/{value.code_low}"


def _octet(text: str, refusal: str) -> int:
    if shape("NUMBER").fullmatch(text) is None or c_integer(text) > 0xFF:
        raise RulesetError(f"{refusal}; a name, TYPE or TYPE/CODE of 0-255 would do")
    return c_integer(text)


class Icmp6Info:
    """struct ip6t_icmp."""

    __slots__ = ("code_high", "code_low", "invert", "type")

    def __init__(self, settings: Settings) -> None:
        """Take the one option apart."""
        wanted = settings.need("icmpv6-type", IcmpType)
        self.type = wanted.type
        self.code_low = wanted.code_low
        self.code_high = wanted.code_high
        self.invert = settings.inverted("icmpv6-type")


def icmp6_match(info: Icmp6Info, skb: Skb, param: XtParam) -> bool:
    """Compare type and code."""
    if param.fragoff:
        return False
    data = skb.data
    offset = param.thoff
    if len(data) < offset + HEADER_LEN:
        param.hotdrop = True
        return False
    matched = data[offset] == info.type and info.code_low <= data[offset + 1] <= info.code_high
    return matched != info.invert


def icmp6_packets(info: Icmp6Info, space: PacketSpace) -> int:
    """Return the messages that fit."""
    kind = info.type << 8
    wanted = space.span(Field.DESTINATION_PORT, kind | info.code_low, kind | info.code_high)
    return space.both(space.masked(Field.FRAGMENT, 0), space.when(info.invert, wanted))


def describe_icmp6(info: Icmp6Info, skb: Skb, param: XtParam) -> str:
    """Say type and code."""
    if param.fragoff:
        return "a fragment but the first"
    if len(skb.data) < param.thoff + 2:
        return "header cut short"
    return f"type {skb.data[param.thoff]} code {skb.data[param.thoff + 1]}"


MATCHES = (
    Match(
        name="icmp6",
        kernel="ip6_tables.c",
        duty="Looks at the ICMPv6 header: type and code.",
        options=(
            Option(
                "icmpv6-type",
                Icmpv6TypeKind(),
                invertible=True,
                mandatory=True,
                help="A type's number with or without code, or its name.",
                says="the ICMPv6 type {is} {value}",
            ),
        ),
        protocols=(NEXTHDR_ICMP,),
        families=(Family.IPV6,),
        shares=always,
        build=Icmp6Info,
        evaluate=icmp6_match,
        packets=icmp6_packets,
        describe=describe_icmp6,
    ),
)
