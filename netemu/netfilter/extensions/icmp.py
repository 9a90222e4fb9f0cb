"""ICMP type and code: match `icmp`.

Kernel: net/ipv4/netfilter/ip_tables.c (icmp_match, icmp_type_code_match).
"""

from __future__ import annotations

from msgspec import Struct

from netemu.errors import RulesetError
from netemu.netfilter.hook import Family
from netemu.netfilter.xtables.kinds import Kind, OptionCall, c_integer, shape
from netemu.netfilter.xtables.kit import Match, Option, Settings, always
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.space import Field, PacketSpace
from netemu.skb import Skb

ANY_TYPE = 0xFF
"""Matches every type, though the packet's number 255 would read the same."""

ICMP_HEADER_LEN = 8


class IcmpType(Struct, frozen=True):
    """A type and a range of codes."""

    type: int
    code_low: int = 0
    code_high: int = 0xFF


ICMP_NAMES = {
    "any": IcmpType(ANY_TYPE),
    "echo-reply": IcmpType(0),
    "pong": IcmpType(0),
    "destination-unreachable": IcmpType(3),
    "network-unreachable": IcmpType(3, 0, 0),
    "host-unreachable": IcmpType(3, 1, 1),
    "protocol-unreachable": IcmpType(3, 2, 2),
    "port-unreachable": IcmpType(3, 3, 3),
    "fragmentation-needed": IcmpType(3, 4, 4),
    "source-route-failed": IcmpType(3, 5, 5),
    "network-unknown": IcmpType(3, 6, 6),
    "host-unknown": IcmpType(3, 7, 7),
    "network-prohibited": IcmpType(3, 9, 9),
    "host-prohibited": IcmpType(3, 10, 10),
    "TOS-network-unreachable": IcmpType(3, 11, 11),
    "TOS-host-unreachable": IcmpType(3, 12, 12),
    "communication-prohibited": IcmpType(3, 13, 13),
    "host-precedence-violation": IcmpType(3, 14, 14),
    "precedence-cutoff": IcmpType(3, 15, 15),
    "source-quench": IcmpType(4),
    "redirect": IcmpType(5),
    "network-redirect": IcmpType(5, 0, 0),
    "host-redirect": IcmpType(5, 1, 1),
    "TOS-network-redirect": IcmpType(5, 2, 2),
    "TOS-host-redirect": IcmpType(5, 3, 3),
    "echo-request": IcmpType(8),
    "ping": IcmpType(8),
    "router-advertisement": IcmpType(9),
    "router-solicitation": IcmpType(10),
    "time-exceeded": IcmpType(11),
    "ttl-exceeded": IcmpType(11),
    "ttl-zero-during-transit": IcmpType(11, 0, 0),
    "ttl-zero-during-reassembly": IcmpType(11, 1, 1),
    "parameter-problem": IcmpType(12),
    "ip-header-bad": IcmpType(12, 0, 0),
    "required-option-missing": IcmpType(12, 1, 1),
    "timestamp-request": IcmpType(13),
    "timestamp-reply": IcmpType(14),
    "address-mask-request": IcmpType(17),
    "address-mask-reply": IcmpType(18),
}
"""Names as `iptables -p icmp -h` lists them."""


class IcmpTypeKind(Kind[IcmpType]):
    """A name or its beginning, `type`, or `type/code`."""

    form = "TYPE[/CODE]"
    terminal = "ICMP_TYPE"
    may_be_empty = True

    def read(self, text: str, call: OptionCall) -> IcmpType:
        """Try the names first; a beginning must be of one name only."""
        start = text.casefold()
        named = [name for name in ICMP_NAMES if name.casefold().startswith(start)]
        if len(named) > 1:
            raise RulesetError(f"Ambiguous ICMP type `{text}': `{named[0]}' or `{named[1]}'?")
        if named:
            return ICMP_NAMES[named[0]]
        type_text, slash, code_text = text.partition("/")
        number = _octet(type_text, f"Unknown ICMP type `{text}'")
        if not slash:
            return IcmpType(number)
        code = _octet(code_text, f"Unknown ICMP code `{text}'")
        return IcmpType(number, code, code)

    def show(self, value: IcmpType) -> str:
        """Print numbers, but `any`."""
        if value.type == ANY_TYPE:
            return "any"
        whole = (value.code_low, value.code_high) == (0, 0xFF)
        return str(value.type) if whole else f"{value.type}/{value.code_low}"


def _octet(text: str, refusal: str) -> int:
    if shape("NUMBER").fullmatch(text) is None or c_integer(text) > 0xFF:
        raise RulesetError(f"{refusal}; a name, TYPE or TYPE/CODE of 0-255 would do")
    return c_integer(text)


class IcmpInfo:
    """struct ipt_icmp."""

    __slots__ = ("code_high", "code_low", "invert", "type")

    def __init__(self, settings: Settings) -> None:
        """Take the one option apart."""
        wanted = settings.need("icmp-type", IcmpType)
        self.type = wanted.type
        self.code_low = wanted.code_low
        self.code_high = wanted.code_high
        self.invert = settings.inverted("icmp-type")


def icmp_match(info: IcmpInfo, skb: Skb, param: XtParam) -> bool:
    """Compare type and code."""
    if param.fragoff:
        return False
    data = skb.data
    offset = param.thoff
    if len(data) < offset + ICMP_HEADER_LEN:
        param.hotdrop = True
        return False
    matched = info.type == ANY_TYPE or (
        data[offset] == info.type and info.code_low <= data[offset + 1] <= info.code_high
    )
    return matched != info.invert


def icmp_packets(info: IcmpInfo, space: PacketSpace) -> int:
    """Return the messages that fit."""
    kind = info.type << 8
    wanted = (
        space.both()
        if info.type == ANY_TYPE
        else space.span(Field.DESTINATION_PORT, kind | info.code_low, kind | info.code_high)
    )
    return space.both(space.masked(Field.FRAGMENT, 0), space.when(info.invert, wanted))


def describe_icmp(info: IcmpInfo, skb: Skb, param: XtParam) -> str:
    """Say type and code."""
    if param.fragoff:
        return f"fragment at offset {param.fragoff * 8}"
    if len(skb.data) < param.thoff + 2:
        return "header cut short"
    return f"type {skb.data[param.thoff]} code {skb.data[param.thoff + 1]}"


MATCHES = (
    Match(
        name="icmp",
        kernel="ip_tables.c",
        duty="Looks at the ICMP header: type and code.",
        options=(
            Option(
                "icmp-type",
                IcmpTypeKind(),
                invertible=True,
                mandatory=True,
                help="A type's number with or without code, or its name.",
                says="the ICMP type {is} {value}",
            ),
        ),
        protocols=(1,),
        families=(Family.IPV4,),
        shares=always,
        build=IcmpInfo,
        evaluate=icmp_match,
        packets=icmp_packets,
        describe=describe_icmp,
    ),
)
