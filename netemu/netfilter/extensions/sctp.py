"""SCTP headers and chunks: match `sctp`.

Kernel: net/netfilter/xt_sctp.c (sctp_mt, match_packet, match_flags).

Theory of operation: --chunk-types walks the chunks. `any` is content with the first chunk that is
listed, `only` refuses the first that is not, `all` needs every listed type to turn up. A chunk that
is cut short or of length 0 drops the packet.

iptables numbers the chunks with flags by their place in its own list; from I_DATA on that is not
their type, so that such flags are read, counted (four types may have some) and forgotten.
"""

from __future__ import annotations

from msgspec import Struct

from netemu.errors import RulesetError
from netemu.netfilter.xtables.kinds import Kind, OptionCall, Span
from netemu.netfilter.xtables.kit import Match, Option, Settings, always
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.ports import PortRange
from netemu.netfilter.xtables.space import Field, PacketSpace
from netemu.skb import Skb
from netemu.wire.fields import get16
from netemu.wire.ipv4 import IPPROTO_SCTP

SCTP_HEADER_LEN = 12
CHUNK_HEADER_LEN = 4
MAX_FLAG_TYPES = 4
"""XT_NUM_SCTP_FLAGS."""

_NO_FLAGS = "--------"

CHUNKS = {
    "DATA": (0, "----IUBE"),
    "INIT": (1, _NO_FLAGS),
    "INIT_ACK": (2, _NO_FLAGS),
    "SACK": (3, _NO_FLAGS),
    "HEARTBEAT": (4, _NO_FLAGS),
    "HEARTBEAT_ACK": (5, _NO_FLAGS),
    "ABORT": (6, "-------T"),
    "SHUTDOWN": (7, _NO_FLAGS),
    "SHUTDOWN_ACK": (8, _NO_FLAGS),
    "ERROR": (9, _NO_FLAGS),
    "COOKIE_ECHO": (10, _NO_FLAGS),
    "COOKIE_ACK": (11, _NO_FLAGS),
    "ECN_ECNE": (12, _NO_FLAGS),
    "ECN_CWR": (13, _NO_FLAGS),
    "SHUTDOWN_COMPLETE": (14, "-------T"),
    "I_DATA": (64, "----IUBE"),
    "RE_CONFIG": (130, _NO_FLAGS),
    "PAD": (132, _NO_FLAGS),
    "ASCONF": (193, _NO_FLAGS),
    "ASCONF_ACK": (128, _NO_FLAGS),
    "FORWARD_TSN": (192, _NO_FLAGS),
    "I_FORWARD_TSN": (194, _NO_FLAGS),
}
"""Type and flags, most significant bit first, in the order of iptables (RFC 9260 and others)."""

_NAMES = {number: name for name, (number, _) in CHUNKS.items()}
_PLACES = {name: place for place, name in enumerate(CHUNKS)}

ALL_CHUNKS = frozenset(range(256))


class ChunkFlags(Struct, frozen=True):
    """Flags looked at in one type of chunk, and those that must be set."""

    mask: int
    set: int


class Chunks(Struct, frozen=True):
    """What --chunk-types says."""

    match: str
    """any, all or only."""
    types: frozenset[int]
    flags: dict[int, ChunkFlags]
    """By the place of a chunk in iptables' list, which is the type of the first fifteen."""


class ChunkTypes(Kind[Chunks]):
    """`any INIT,DATA:Be`: how to match, then types with flags; a small letter must be clear."""

    form = "any|all|only TYPE[:FLAGS][,...]"
    terminal = "TCP_FLAGS"
    arity = 2

    def read(self, text: str, call: OptionCall) -> Chunks:
        """Read both words."""
        how, _, listed = text.partition(" ")
        match = how.lower()
        if match not in {"any", "all", "only"}:
            raise RulesetError('Match type has to be one of "ALL", "ANY" or "ONLY"')
        if listed.upper() in {"ALL", "NONE"}:
            return Chunks(match, ALL_CHUNKS if listed.upper() == "ALL" else frozenset(), {})
        types: set[int] = set()
        flags: dict[int, ChunkFlags] = {}
        for item in filter(None, listed.split(",")):
            name, _, letters = item.partition(":")
            if name.upper() not in CHUNKS:
                raise RulesetError(f"Unknown sctp chunk `{name}'; it takes {', '.join(CHUNKS)}")
            types.add(CHUNKS[name.upper()][0])
            _add_flags(flags, name.upper(), letters)
        return Chunks(match, frozenset(types), flags)

    def show(self, value: Chunks) -> str:
        """Print the types by number."""
        if not value.types:
            return f"{value.match} NONE"
        if value.types == ALL_CHUNKS:
            return f"{value.match} ALL"
        return f"{value.match} " + ",".join(
            _NAMES[number] + _show_flags(number, value.flags.get(number))
            for number in sorted(value.types)
        )


def _add_flags(flags: dict[int, ChunkFlags], name: str, letters: str) -> None:
    place = _PLACES[name]
    valid = CHUNKS[name][1]
    for letter in letters:
        position = valid.find(letter.upper())
        if position < 0:
            raise RulesetError(
                f"Invalid flags for chunk type {place}; "
                f"{name} has {valid.strip('-') or 'no flags'}, not `{letter}'"
            )
        if place not in flags and len(flags) == MAX_FLAG_TYPES:
            raise RulesetError(
                "Number of chunk types with flags exceeds currently allowed limit, "
                f"which is {MAX_FLAG_TYPES}"
            )
        bit = 0x80 >> position
        before = flags.get(place, ChunkFlags(0, 0))
        flags[place] = ChunkFlags(before.mask | bit, before.set | (bit if letter.isupper() else 0))


def _show_flags(number: int, flags: ChunkFlags | None) -> str:
    if flags is None:
        return ""
    text = ":"
    for position, letter in enumerate(CHUNKS[_NAMES[number]][1]):
        bit = 0x80 >> position
        if flags.mask & bit:
            text += letter if flags.set & bit else letter.lower()
    return text


class SctpInfo:
    """struct xt_sctp_info."""

    __slots__ = ("chunks", "dport", "invert_chunks", "invert_dport", "invert_sport", "sport")

    def __init__(self, settings: Settings) -> None:
        """Take the options apart."""
        self.sport = settings.get("sport", Span)
        self.dport = settings.get("dport", Span)
        self.chunks = settings.get("chunk-types", Chunks)
        self.invert_sport = settings.inverted("sport")
        self.invert_dport = settings.inverted("dport")
        self.invert_chunks = settings.inverted("chunk-types")


def sctp_mt(info: SctpInfo, skb: Skb, param: XtParam) -> bool:
    """Compare ports, then walk the chunks."""
    if param.fragoff:
        return False
    data = skb.data
    start = param.thoff
    if len(data) < start + SCTP_HEADER_LEN:
        param.hotdrop = True
        return False
    if info.sport is not None:
        if (info.sport.low <= get16(data, start) <= info.sport.high) == info.invert_sport:
            return False
    if info.dport is not None:
        if (info.dport.low <= get16(data, start + 2) <= info.dport.high) == info.invert_dport:
            return False
    if info.chunks is None:
        return True
    return match_packet(info.chunks, data, param) != info.invert_chunks


def sctp_packets(info: SctpInfo, space: PacketSpace) -> int:
    """Return the packets with such ports; which chunks they hold is told to all rules alike."""
    found = space.masked(Field.FRAGMENT, 0)
    for span, invert, field in (
        (info.sport, info.invert_sport, Field.SOURCE_PORT),
        (info.dport, info.invert_dport, Field.DESTINATION_PORT),
    ):
        if span is not None:
            found = space.both(found, space.when(invert, space.span(field, span.low, span.high)))
    return found if info.chunks is None else space.both(found, space.fact(space.text))


def match_packet(chunks: Chunks, data: bytearray, param: XtParam) -> bool:
    """Walk the chunks."""
    missing = set(chunks.types)
    at = param.thoff + SCTP_HEADER_LEN
    while True:
        if len(data) < at + CHUNK_HEADER_LEN or not get16(data, at + 2):
            param.hotdrop = True
            return False
        kind, flags = data[at], data[at + 1]
        at += get16(data, at + 2) + 3 & ~3
        wanted = chunks.flags.get(kind)
        fits = kind in chunks.types and (wanted is None or flags & wanted.mask == wanted.set)
        if chunks.match == "any":
            if fits:
                return True
        elif chunks.match == "only":
            if not fits:
                return False
        elif fits:
            missing.discard(kind)
        if at >= len(data):
            break
    return chunks.match == "only" or (chunks.match == "all" and not missing)


def describe_sctp(info: SctpInfo, skb: Skb, param: XtParam) -> str:
    """Say ports, and the types of chunks where the rule looks at them."""
    data = skb.data
    start = param.thoff
    if param.fragoff or len(data) < start + SCTP_HEADER_LEN:
        return "no SCTP header"
    text = f"sport {get16(data, start)} dport {get16(data, start + 2)}"
    if info.chunks is None:
        return text
    names = []
    at = start + SCTP_HEADER_LEN
    while len(data) >= at + CHUNK_HEADER_LEN and get16(data, at + 2):
        names.append(_NAMES.get(data[at], str(data[at])))
        at += get16(data, at + 2) + 3 & ~3
    return f"{text} chunks {','.join(names) or 'none'}"


MATCHES = (
    Match(
        name="sctp",
        kernel="xt_sctp.c",
        duty="Looks at the SCTP header and its chunks.",
        options=(
            Option(
                "sport",
                PortRange("sctp"),
                aliases=("source-port",),
                invertible=True,
                help="Source port or range.",
                says="the source port {is} {value}",
            ),
            Option(
                "dport",
                PortRange("sctp"),
                aliases=("destination-port",),
                invertible=True,
                help="Destination port or range.",
                says="the destination port {is} {value}",
            ),
            Option(
                "chunk-types",
                ChunkTypes(),
                invertible=True,
                help="all, any or only, then chunk types, each with flags behind a colon.",
            ),
        ),
        protocols=(IPPROTO_SCTP,),
        shares=always,
        build=SctpInfo,
        evaluate=sctp_mt,
        packets=sctp_packets,
        describe=describe_sctp,
    ),
)
