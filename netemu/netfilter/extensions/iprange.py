"""Addresses from one to another: match `iprange`.

Kernel: net/netfilter/xt_iprange.c (iprange_mt4, iprange_mt6).

A range whose first address is above its last is accepted and holds no address.
"""

from __future__ import annotations

from msgspec import Struct

from netemu.errors import RulesetError
from netemu.netfilter.xtables.addresses import address_octets
from netemu.netfilter.xtables.header import destination_address, source_address
from netemu.netfilter.xtables.kinds import Kind, OptionCall
from netemu.netfilter.xtables.kit import Match, Option, Settings, always
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.space import Field, PacketSpace
from netemu.skb import Skb
from netemu.wire.address import format_address


class AddressRange(Struct, frozen=True):
    """Both ends are included; packed addresses compare as numbers do."""

    first: bytes
    last: bytes


class AddressRangeKind(Kind[AddressRange]):
    """`10.0.0.1-10.0.0.9`, or one address (iprange_parse_range)."""

    form = "ADDRESS[-ADDRESS]"
    terminal = "TEXT"
    may_be_empty = True

    def read(self, text: str, call: OptionCall) -> AddressRange:
        """Read one or two addresses of the rule's family."""
        first, dash, last = text.partition("-")
        return AddressRange(_address(first, call), _address(last if dash else first, call))

    def show(self, value: AddressRange) -> str:
        """Print both ends, even when they are the same."""
        return f"{format_address(value.first)}-{format_address(value.last)}"


def _address(text: str, call: OptionCall) -> bytes:
    address = address_octets(text, call.family)
    if address is None:
        raise RulesetError(
            f'{call.extension}: Bad value for "--{call.option}" option: "{text}"; '
            "FIRST-LAST would do"
        )
    return address


class IprangeInfo:
    """struct xt_iprange_mtinfo."""

    __slots__ = ("destination", "invert_destination", "invert_source", "source")

    def __init__(self, settings: Settings) -> None:
        """Take the options apart."""
        self.source = settings.get("src-range", AddressRange)
        self.destination = settings.get("dst-range", AddressRange)
        self.invert_source = settings.inverted("src-range")
        self.invert_destination = settings.inverted("dst-range")


def iprange_mt(info: IprangeInfo, skb: Skb, param: XtParam) -> bool:
    """Compare each address that the rule asks for."""
    wanted = info.source
    if wanted is not None:
        address = source_address(skb, param.family)
        if (wanted.first <= address <= wanted.last) == info.invert_source:
            return False
    wanted = info.destination
    if wanted is None:
        return True
    address = destination_address(skb, param.family)
    return (wanted.first <= address <= wanted.last) != info.invert_destination


def iprange_packets(info: IprangeInfo, space: PacketSpace) -> int:
    """Return the packets with addresses in the ranges."""
    return space.both(
        *(
            space.when(invert, _within(space, field, wanted))
            for field, wanted, invert in (
                (Field.SOURCE, info.source, info.invert_source),
                (Field.DESTINATION, info.destination, info.invert_destination),
            )
            if wanted is not None
        )
    )


def _within(space: PacketSpace, field: Field, wanted: AddressRange) -> int:
    first = int.from_bytes(wanted.first, "big")
    return space.span(field, first, int.from_bytes(wanted.last, "big"))


def describe_iprange(info: IprangeInfo, skb: Skb, param: XtParam) -> str:
    """Say the addresses that the rule asks for."""
    parts = []
    if info.source is not None:
        parts.append(f"source {format_address(source_address(skb, param.family))}")
    if info.destination is not None:
        parts.append(f"destination {format_address(destination_address(skb, param.family))}")
    return " ".join(parts)


def _check_iprange(settings: Settings) -> None:
    if not settings.given:
        raise RulesetError("iprange match: You must specify `--src-range' or `--dst-range'")


MATCHES = (
    Match(
        name="iprange",
        kernel="xt_iprange.c",
        duty="Compares addresses with a range from one address to another.",
        options=(
            Option(
                "src-range",
                AddressRangeKind(),
                invertible=True,
                help="The source lies in the range.",
                says="the source {is} within {value}",
            ),
            Option(
                "dst-range",
                AddressRangeKind(),
                invertible=True,
                help="The destination lies in the range.",
                says="the destination {is} within {value}",
            ),
        ),
        check=_check_iprange,
        shares=always,
        build=IprangeInfo,
        evaluate=iprange_mt,
        packets=iprange_packets,
        describe=describe_iprange,
    ),
)
