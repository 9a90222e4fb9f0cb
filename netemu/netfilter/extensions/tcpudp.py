"""TCP and UDP headers: matches `tcp` and `udp`.

Kernel: net/netfilter/xt_tcpudp.c (tcp_mt, tcp_find_option, udp_mt).

A fragment without the header never matches, and one that would overwrite the flags of a TCP header
(offset 1) is dropped at once, as is a packet too short for its header.
"""

from __future__ import annotations

from msgspec import Struct

from netemu.errors import RulesetError
from netemu.netfilter.xtables.kinds import U8, Kind, OptionCall, Span
from netemu.netfilter.xtables.kit import Given, Match, Native, Option, Settings, always
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.ports import PORT_MAX, PortRange, ResolvedPorts
from netemu.netfilter.xtables.space import Field, PacketSpace
from netemu.skb import Skb
from netemu.wire.tcp import MIN_HEADER_LEN

UDP_HEADER_LEN = 8

FLAG_BITS = {"FIN": 0x01, "SYN": 0x02, "RST": 0x04, "PSH": 0x08, "ACK": 0x10, "URG": 0x20}
"""In the order in which iptables-save prints them; CWR and ECE cannot be named."""

_FLAG_WORDS = {**FLAG_BITS, "ALL": 0x3F, "NONE": 0}


class TcpFlags(Struct, frozen=True):
    """Which flags are looked at, and which of them must be set."""

    mask: int
    set: int


class TcpFlagsKind(Kind[TcpFlags]):
    """`FIN,SYN,RST,ACK SYN`: two lists of flags (parse_tcp_flags)."""

    form = "MASK FLAGS"
    terminal = "TCP_FLAGS"
    arity = 2

    def read(self, text: str, call: OptionCall) -> TcpFlags:
        """Read both lists."""
        mask, _, comp = text.partition(" ")
        return TcpFlags(_read_flags(mask), _read_flags(comp))

    def show(self, value: TcpFlags) -> str:
        """Print both lists."""
        return f"{_show_flags(value.mask)} {_show_flags(value.set)}"


def _read_flags(text: str) -> int:
    bits = 0
    for name in text.split(","):
        if not name:
            continue
        found = _FLAG_WORDS.get(name.upper())
        if found is None:
            raise RulesetError(f"Unknown TCP flag `{name}'; it takes {', '.join(_FLAG_WORDS)}")
        bits |= found
    return bits


def _show_flags(bits: int) -> str:
    return ",".join(name for name, bit in FLAG_BITS.items() if bits & bit) or "NONE"


class TcpOptionKind(Kind[int]):
    """A kind of TCP option, 1-255."""

    form = "1-255"
    terminal = "NUMBER"

    def refusal(self, text: str, call: OptionCall) -> str:
        """Word it as parse_tcp_option does."""
        return f'Bad TCP option "{text}"; 1-255 would do'

    def read(self, text: str, call: OptionCall) -> int:
        """Read a number within the limits."""
        try:
            return U8(low=1).read(text, call)
        except RulesetError:
            raise RulesetError(self.refusal(text, call)) from None

    def show(self, value: int) -> str:
        """Print in decimal."""
        return str(value)


_ANY_PORT = Span(0, PORT_MAX)
_NO_FLAGS = TcpFlags(0, 0)
_SYN = TcpFlags(0x17, 0x02)
"""What --syn stands for: FIN,SYN,RST,ACK SYN."""


class TcpInfo:
    """struct xt_tcp."""

    __slots__ = (
        "dport_high",
        "dport_low",
        "flags_comp",
        "flags_mask",
        "invert_dport",
        "invert_flags",
        "invert_option",
        "invert_sport",
        "option",
        "sport_high",
        "sport_low",
    )

    def __init__(self, settings: Settings) -> None:
        """Take the options apart."""
        sport = settings.get("sport", Span, _ANY_PORT)
        dport = settings.get("dport", Span, _ANY_PORT)
        flags = settings.get("tcp-flags", TcpFlags, _NO_FLAGS)
        self.sport_low, self.sport_high = sport.low, sport.high
        self.dport_low, self.dport_high = dport.low, dport.high
        self.flags_mask, self.flags_comp = flags.mask, flags.set
        self.option = settings.get("tcp-option", int, 0)
        self.invert_sport = settings.inverted("sport")
        self.invert_dport = settings.inverted("dport")
        self.invert_flags = settings.inverted("tcp-flags")
        self.invert_option = settings.inverted("tcp-option")


def tcp_mt(info: TcpInfo, skb: Skb, param: XtParam) -> bool:
    """Compare ports, flags, then search the options."""
    if param.fragoff:
        if param.fragoff == 1:
            param.hotdrop = True
        return False
    data = skb.data
    offset = param.thoff
    if len(data) < offset + MIN_HEADER_LEN:
        param.hotdrop = True
        return False
    port = data[offset] << 8 | data[offset + 1]
    if (info.sport_low <= port <= info.sport_high) == info.invert_sport:
        return False
    port = data[offset + 2] << 8 | data[offset + 3]
    if (info.dport_low <= port <= info.dport_high) == info.invert_dport:
        return False
    if ((data[offset + 13] & info.flags_mask) == info.flags_comp) == info.invert_flags:
        return False
    return not info.option or _tcp_option_mt(info, skb, param)


def _tcp_option_mt(info: TcpInfo, skb: Skb, param: XtParam) -> bool:
    """Walk the options for one kind (tcp_find_option)."""
    offset = param.thoff
    header_len = (skb.data[offset + 12] >> 4) * 4
    if header_len < MIN_HEADER_LEN or len(skb.data) < offset + header_len:
        param.hotdrop = True
        return False
    options = skb.data[offset + MIN_HEADER_LEN : offset + header_len]
    position = 0
    while position < len(options):
        kind = options[position]
        if kind == info.option:
            return not info.invert_option
        if kind < 2 or position + 1 >= len(options):
            position += 1
        else:
            position += options[position + 1] or 1
    return info.invert_option


class UdpInfo:
    """struct xt_udp."""

    __slots__ = (
        "dport_high",
        "dport_low",
        "invert_dport",
        "invert_sport",
        "sport_high",
        "sport_low",
    )

    def __init__(self, settings: Settings) -> None:
        """Take the options apart."""
        sport = settings.get("sport", Span, _ANY_PORT)
        dport = settings.get("dport", Span, _ANY_PORT)
        self.sport_low, self.sport_high = sport.low, sport.high
        self.dport_low, self.dport_high = dport.low, dport.high
        self.invert_sport = settings.inverted("sport")
        self.invert_dport = settings.inverted("dport")


def udp_mt(info: UdpInfo, skb: Skb, param: XtParam) -> bool:
    """Compare both ports."""
    if param.fragoff:
        return False
    data = skb.data
    offset = param.thoff
    if len(data) < offset + UDP_HEADER_LEN:
        param.hotdrop = True
        return False
    port = data[offset] << 8 | data[offset + 1]
    if (info.sport_low <= port <= info.sport_high) == info.invert_sport:
        return False
    port = data[offset + 2] << 8 | data[offset + 3]
    return (info.dport_low <= port <= info.dport_high) != info.invert_dport


def _ports(info: TcpInfo | UdpInfo, space: PacketSpace) -> int:
    """Return the packets that have a header with such ports."""
    return space.both(
        space.masked(Field.FRAGMENT, 0),
        space.when(
            info.invert_sport, space.span(Field.SOURCE_PORT, info.sport_low, info.sport_high)
        ),
        space.when(
            info.invert_dport, space.span(Field.DESTINATION_PORT, info.dport_low, info.dport_high)
        ),
    )


def tcp_packets(info: TcpInfo, space: PacketSpace) -> int:
    """Return the segments that fit; which options they have is nowhere told."""
    flags = space.masked(Field.TCP_FLAGS, info.flags_comp, info.flags_mask)
    found = space.both(_ports(info, space), space.when(info.invert_flags, flags))
    if info.option:
        has_option = space.fact(f"TCP option {info.option}")
        found = space.both(found, space.when(info.invert_option, has_option))
    return found


def udp_packets(info: UdpInfo, space: PacketSpace) -> int:
    """Return the datagrams that fit."""
    return _ports(info, space)


def only_port(info: TcpInfo | UdpInfo) -> int | None:
    """Return the only destination port that passes; whatever else is asked is asked later."""
    if info.invert_dport or info.dport_low != info.dport_high:
        return None
    return info.dport_low


def describe_ports(info: TcpInfo | UdpInfo, skb: Skb, param: XtParam) -> str:
    """Say ports, and flags where the rule looks at them."""
    if param.fragoff:
        return f"fragment at offset {param.fragoff * 8}"
    data = skb.data
    offset = param.thoff
    if len(data) < offset + UDP_HEADER_LEN:
        return "header cut short"
    text = f"sport {data[offset] << 8 | data[offset + 1]}"
    text += f" dport {data[offset + 2] << 8 | data[offset + 3]}"
    if isinstance(info, TcpInfo) and len(data) >= offset + MIN_HEADER_LEN:
        text += f" flags {_show_flags(data[offset + 13])}"
    return text


def _port_options(kind: Kind[Span]) -> tuple[Option, Option]:
    return (
        Option(
            "sport",
            kind,
            aliases=("source-port",),
            invertible=True,
            silent=_ANY_PORT,
            help="Source port or range.",
            says="the source port {is} {value}",
        ),
        Option(
            "dport",
            kind,
            aliases=("destination-port",),
            invertible=True,
            silent=_ANY_PORT,
            help="Destination port or range.",
            says="the destination port {is} {value}",
        ),
    )


def _in_nft(*, tcp: bool) -> Native:
    """Return how iptables-nft says `tcp` or `udp`: a payload expression for each option.

    Read back, all of a rule are one match, each later port range over the one before, and an
    inverted range from port 0 is the range above it.
    """
    name, protocol = ("TCP", 6) if tcp else ("UDP", 17)

    def read_back(settings: Settings, before: Settings | None) -> Settings | None:
        if "tcp-option" in settings or not _asks(settings):
            return None
        if settings.protocol != protocol:
            raise RulesetError(f"{name} match requires '-p {name.lower()}'")
        given = {} if before is None else dict(before.given)
        for side in ("sport", "dport"):
            if side in settings and settings.need(side, Span) != _ANY_PORT:
                given[side] = _over(given.get(side), settings.given[side])
        flags = settings.given.get("tcp-flags")
        if flags is not None and settings.need("tcp-flags", TcpFlags).mask:
            earlier = given.get("tcp-flags")
            inverted = flags.inverted or (earlier is not None and earlier.inverted)
            given["tcp-flags"] = flags._replace(inverted=inverted)
        return Settings(
            settings.extension,
            given,
            family=settings.family,
            protocol=settings.protocol,
            protocol_inverted=settings.protocol_inverted,
            table=settings.table,
            nft=True,
        )

    return Native(read_back, merges=True)


def _asks(settings: Settings) -> bool:
    """Return whether struct xt_tcp or xt_udp differs from one without options."""
    return any(
        given.inverted or given.value not in (_ANY_PORT, _NO_FLAGS)
        for given in settings.given.values()
    )


def _over(earlier: Given | None, later: Given) -> Given:
    """Return what two port expressions are read back as (port_match_single_to_range)."""
    span = later.value
    assert isinstance(span, Span)
    low, high = _ANY_PORT.low, _ANY_PORT.high
    inverted = False
    if earlier is not None:
        assert isinstance(earlier.value, Span)
        low, high, inverted = earlier.value.low, earlier.value.high, earlier.inverted
    if span.low or not span.high:
        low, high, inverted = span.low, span.high, inverted or later.inverted
    elif later.inverted:
        low = span.high + 1
    else:
        high = span.high
    return Given(later.option, Span(low, high), inverted)


MATCHES = (
    Match(
        name="tcp",
        kernel="xt_tcpudp.c",
        duty="Looks at the TCP header: ports, flags, options.",
        options=(
            *_port_options(PortRange("tcp")),
            Option(
                "tcp-option",
                TcpOptionKind(),
                invertible=True,
                help="A kind of TCP option.",
                says="TCP option {value} {is} there",
            ),
            Option(
                "tcp-flags",
                TcpFlagsKind(),
                invertible=True,
                excludes=("syn",),
                silent=lambda given: not (given.value.mask or given.inverted),
                help="Flags looked at, and those of them that must be set.",
                says="of the flags {first} just {second} {is} set",
            ),
            Option(
                "syn",
                invertible=True,
                into="tcp-flags",
                convert=lambda _: _SYN,
                help="Short for --tcp-flags FIN,SYN,RST,ACK SYN.",
            ),
        ),
        protocols=(6,),
        shares=always,
        nft=_in_nft(tcp=True),
        build=TcpInfo,
        evaluate=tcp_mt,
        packets=tcp_packets,
        only_port=only_port,
        describe=describe_ports,
    ),
    Match(
        name="udp",
        kernel="xt_tcpudp.c",
        duty="Looks at the UDP header: ports.",
        options=_port_options(ResolvedPorts()),
        protocols=(17,),
        shares=always,
        nft=_in_nft(tcp=False),
        build=UdpInfo,
        evaluate=udp_mt,
        packets=udp_packets,
        only_port=only_port,
        describe=describe_ports,
    ),
)
