"""Lists of ports: match `multiport`.

Kernel: net/netfilter/xt_multiport.c (multiport_mt, ports_match_v1).
"""

from __future__ import annotations

from typing import NoReturn

from netemu.errors import RulesetError
from netemu.netfilter.xtables.kinds import Kind, OptionCall, Span
from netemu.netfilter.xtables.kit import Match, Option, Settings, always
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.ports import TRANSPORTS, parse_port
from netemu.netfilter.xtables.space import Field, PacketSpace
from netemu.skb import Skb

MULTI_PORTS = 15
"""Slots of a rule; a range takes two (XT_MULTI_PORTS)."""

PortSpans = tuple[Span, ...]


class PortList(Kind[PortSpans]):
    """`80,443,8000:8080` (parse_multi_ports_v1)."""

    form = "PORT[:PORT][,...]"
    terminal = "PORT_LIST"
    may_be_empty = True

    def read(self, text: str, call: OptionCall) -> PortSpans:
        """Read the list; -p must have been read already, since names depend on it."""
        transport = TRANSPORTS.get(call.protocol, "")
        if call.protocol_inverted or (call.protocol and not transport):
            raise RulesetError("multiport only works with TCP, UDP, UDPLITE, SCTP and DCCP")
        if not transport:
            raise RulesetError(
                "multiport needs `-p tcp', `-p udp', `-p udplite', `-p sctp' or `-p dccp'"
            )
        spans: list[Span] = []
        slots = 0
        for item in text.split(","):
            first, colon, last = item.partition(":")
            slots += 2 if colon else 1
            if slots > MULTI_PORTS:
                _too_many()
            low = parse_port(first, transport)
            high = parse_port(last, transport) if colon else low
            if colon and low >= high:
                raise RulesetError("invalid portrange specified; the first port is not lower")
            spans.append(Span(low, high))
        return tuple(spans)

    def show(self, value: PortSpans) -> str:
        """Print in the order given."""
        return ",".join(
            str(span.low) if span.low == span.high else f"{span.low}:{span.high}" for span in value
        )


def _too_many() -> NoReturn:
    raise RulesetError(f"too many ports specified; {MULTI_PORTS} fit, and a range counts twice")


_NAMES = ("sports", "dports", "ports")


class MultiportInfo:
    """struct xt_multiport_v1."""

    __slots__ = ("destination", "invert", "source", "spans")

    def __init__(self, settings: Settings) -> None:
        """Take the one option apart."""
        name = next(name for name in _NAMES if name in settings)
        self.source = name != "dports"
        self.destination = name != "sports"
        self.spans = tuple((span.low, span.high) for span in settings.need(name, tuple))
        self.invert = settings.inverted(name)


def multiport_mt(info: MultiportInfo, skb: Skb, param: XtParam) -> bool:
    """Look for either port in the list."""
    if param.fragoff:
        return False
    data = skb.data
    offset = param.thoff
    if len(data) < offset + 4:
        param.hotdrop = True
        return False
    source = data[offset] << 8 | data[offset + 1]
    destination = data[offset + 2] << 8 | data[offset + 3]
    for low, high in info.spans:
        if (info.source and low <= source <= high) or (
            info.destination and low <= destination <= high
        ):
            return not info.invert
    return info.invert


def multiport_packets(info: MultiportInfo, space: PacketSpace) -> int:
    """Return the packets with a port in the list."""
    asked = [
        field
        for field, wanted in (
            (Field.SOURCE_PORT, info.source),
            (Field.DESTINATION_PORT, info.destination),
        )
        if wanted
    ]
    listed = space.either(*(space.span(field, *span) for field in asked for span in info.spans))
    return space.both(space.masked(Field.FRAGMENT, 0), space.when(info.invert, listed))


def describe_multiport(info: MultiportInfo, skb: Skb, param: XtParam) -> str:
    """Say both ports."""
    data = skb.data
    offset = param.thoff
    if param.fragoff or len(data) < offset + 4:
        return "no ports"
    source = data[offset] << 8 | data[offset + 1]
    return f"sport {source} dport {data[offset + 2] << 8 | data[offset + 3]}"


def _check_multiport(settings: Settings) -> None:
    if not any(name in settings for name in _NAMES):
        raise RulesetError("multiport expection an option; --sports, --dports or --ports")


def _option(name: str, alias: str, port: str) -> Option:
    return Option(
        name,
        PortList(),
        aliases=(alias,) if alias else (),
        invertible=True,
        excludes=tuple(other for other in _NAMES if other != name),
        help=f"{port[0].upper()}{port[1:]} is in the list.",
        says=f"{port} {{is}} in {{value}}",
    )


MATCHES = (
    Match(
        name="multiport",
        kernel="xt_multiport.c",
        duty="Looks for a port in a list of up to 15 ports and ranges.",
        options=(
            _option("sports", "source-ports", "the source port"),
            _option("dports", "destination-ports", "the destination port"),
            _option("ports", "", "either port"),
        ),
        protocols=tuple(TRANSPORTS),
        check=_check_multiport,
        shares=always,
        build=MultiportInfo,
        evaluate=multiport_mt,
        packets=multiport_packets,
        describe=describe_multiport,
    ),
)
