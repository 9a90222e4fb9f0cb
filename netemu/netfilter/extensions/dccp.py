"""DCCP headers: match `dccp`.

Kernel: net/netfilter/xt_dccp.c (dccp_mt, dccp_find_option).

A header that is cut short drops the packet, as do options that are cut short or would begin inside
of the header, when the rule asks for an option.
"""

from __future__ import annotations

from netemu.errors import RulesetError
from netemu.netfilter.xtables.kinds import U8, Kind, OptionCall, Span
from netemu.netfilter.xtables.kit import Match, Option, Settings, always
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.ports import ResolvedPorts
from netemu.netfilter.xtables.space import Field, PacketSpace
from netemu.skb import Skb
from netemu.wire.fields import get16
from netemu.wire.ipv4 import IPPROTO_DCCP

DCCP_HEADER_LEN = 12
"""struct dccp_hdr, without what follows it."""

EXTENDED_LEN = 4
"""More octets of sequence number (struct dccp_hdr_ext)."""

TYPES = (
    "REQUEST",
    "RESPONSE",
    "DATA",
    "ACK",
    "DATAACK",
    "CLOSEREQ",
    "CLOSE",
    "RESET",
    "SYNC",
    "SYNCACK",
    "INVALID",
)
"""By number (RFC 4340); of the kernel's INVALID there are no packets but reserved types."""

PACKET_LENS = (4, 12, 0, 8, 8, 8, 8, 12, 8, 8)
"""Octets behind the header, by type (dccp_packet_hdr_len)."""

OTHER_LEN = 12
"""Of reserved types, as of a RESET."""


class DccpTypes(Kind[int]):
    """Types joined by commas, in any case (parse_dccp_types)."""

    form = "TYPE[,TYPE...]"
    terminal = "TEXT"
    may_be_empty = True

    def read(self, text: str, call: OptionCall) -> int:
        """Or the bits together."""
        bits = 0
        for word in filter(None, text.split(",")):
            if word.upper() not in TYPES:
                raise RulesetError(f"Unknown DCCP type `{word}'; it takes {', '.join(TYPES)}")
            bits |= 1 << TYPES.index(word.upper())
        return bits

    def show(self, value: int) -> str:
        """List the types by number."""
        return ",".join(name for number, name in enumerate(TYPES) if value >> number & 1)


class DccpInfo:
    """struct xt_dccp_info."""

    __slots__ = ("dport", "inverted", "option", "sport", "types")

    def __init__(self, settings: Settings) -> None:
        """Take the options apart."""
        self.sport = settings.get("source-port", Span)
        self.dport = settings.get("destination-port", Span)
        self.types = settings.get("dccp-types", int)
        self.option = settings.get("dccp-option", int)
        self.inverted = frozenset(name for name in settings.given if settings.inverted(name))


def dccp_mt(info: DccpInfo, skb: Skb, param: XtParam) -> bool:
    """Compare ports and type, then search the options."""
    if param.fragoff:
        return False
    data = skb.data
    start = param.thoff
    if len(data) < start + DCCP_HEADER_LEN:
        param.hotdrop = True
        return False
    inverted = info.inverted
    if info.sport is not None:
        holds = info.sport.low <= get16(data, start) <= info.sport.high
        if holds == ("source-port" in inverted):
            return False
    if info.dport is not None:
        holds = info.dport.low <= get16(data, start + 2) <= info.dport.high
        if holds == ("destination-port" in inverted):
            return False
    if info.types is not None:
        holds = bool(info.types >> dccp_type(data, start) & 1)
        if holds == ("dccp-types" in inverted):
            return False
    if info.option is None:
        return True
    return dccp_find_option(info.option, data, param) != ("dccp-option" in inverted)


def dccp_packets(info: DccpInfo, space: PacketSpace) -> int:
    """Return the packets with such ports; type and options are told to all rules alike."""
    found = space.masked(Field.FRAGMENT, 0)
    for span, name, field in (
        (info.sport, "source-port", Field.SOURCE_PORT),
        (info.dport, "destination-port", Field.DESTINATION_PORT),
    ):
        if span is not None:
            inside = space.span(field, span.low, span.high)
            found = space.both(found, space.when(name in info.inverted, inside))
    if info.types is None and info.option is None:
        return found
    return space.both(found, space.fact(space.text))


def dccp_type(data: bytearray, start: int) -> int:
    """Return the packet's type."""
    return data[start + 8] >> 1 & 0x0F


def dccp_find_option(option: int, data: bytearray, param: XtParam) -> bool:
    """Search the options, which follow what the packet's type brings along."""
    start = param.thoff
    kind = dccp_type(data, start)
    extended = EXTENDED_LEN if data[start + 8] & 1 else 0
    header_len = DCCP_HEADER_LEN + extended
    header_len += PACKET_LENS[kind] if kind < len(PACKET_LENS) else OTHER_LEN
    data_offset = data[start + 4] * 4
    if data_offset < header_len or len(data) < start + data_offset:
        # Without room for options the kernel does not look whether the header is all there.
        param.hotdrop = data_offset != header_len
        return False
    options = data[start + header_len : start + data_offset]
    at = 0
    while at < len(options):
        if options[at] == option:
            return True
        if options[at] < 2 or at + 1 >= len(options):
            at += 1
        else:
            at += options[at + 1] or 1
    return False


def describe_dccp(info: DccpInfo, skb: Skb, param: XtParam) -> str:
    """Say ports and type."""
    data = skb.data
    start = param.thoff
    if param.fragoff or len(data) < start + DCCP_HEADER_LEN:
        return "no DCCP header"
    kind = dccp_type(data, start)
    name = TYPES[kind] if kind < len(PACKET_LENS) else str(kind)
    return f"sport {get16(data, start)} dport {get16(data, start + 2)} type {name}"


_SHORT = {"source-port": "sport", "destination-port": "dport"}


def _save_dccp(settings: Settings) -> str:
    """Print the ports under their short names."""
    words = []
    for option in _OPTIONS:
        if option.name in settings:
            given = settings.given[option.name]
            bang = "! " if given.inverted else ""
            name = _SHORT.get(option.name, option.name)
            words.append(f"{bang}--{name} {option.kind.show(given.value)}")
    return " ".join(words)


_OPTIONS = (
    Option(
        "source-port",
        ResolvedPorts(),
        aliases=("sport",),
        invertible=True,
        help="Source port or range.",
    ),
    Option(
        "destination-port",
        ResolvedPorts(),
        aliases=("dport",),
        invertible=True,
        help="Destination port or range.",
    ),
    Option("dccp-types", DccpTypes(), invertible=True, help="Types of packets."),
    Option("dccp-option", U8(low=1), invertible=True, help="A kind of DCCP option."),
)

MATCHES = (
    Match(
        name="dccp",
        kernel="xt_dccp.c",
        duty="Looks at the DCCP header: ports, type, options.",
        options=_OPTIONS,
        protocols=(IPPROTO_DCCP,),
        save=_save_dccp,
        shares=always,
        build=DccpInfo,
        evaluate=dccp_mt,
        packets=dccp_packets,
        describe=describe_dccp,
    ),
)
