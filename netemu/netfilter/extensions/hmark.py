"""A mark hashed from what the packet belongs to: target `HMARK`.

Kernel: net/netfilter/xt_HMARK.c (hmark_tg_v4, hmark_hash, hmark_ct_set_htuple).

Addresses and ports of both ends go into the hash so that either direction of a flow gets the same
mark. ICMP errors count as the packet that they quote, fragments and ICMP have no ports. `ct` takes
the addresses of the connection; a packet without one keeps its mark.

Differs from Linux: on IPv6 packets, which netemu does not walk yet, nothing is hashed.
"""

from __future__ import annotations

from typing import NamedTuple

from netemu.errors import RulesetError
from netemu.events import MarkChanged
from netemu.hashing import jhash2, reciprocal_scale
from netemu.netfilter.conntrack.connection import nf_ct_get
from netemu.netfilter.hook import Family, Verdict
from netemu.netfilter.xtables.addresses import ipv6_octets, octets_in, prefix_length
from netemu.netfilter.xtables.hosts import inet_aton
from netemu.netfilter.xtables.kinds import (
    U16,
    U32,
    U32_MAX,
    Kind,
    OptionCall,
    Unsigned,
    c_integer,
    shape,
)
from netemu.netfilter.xtables.kit import Option, Settings, Target, always, printed
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.space import Field, Rewriting
from netemu.skb import Skb
from netemu.wire.address import mask_of
from netemu.wire.icmp import IcmpType
from netemu.wire.ipv4 import (
    IPPROTO_AH,
    IPPROTO_DCCP,
    IPPROTO_ESP,
    IPPROTO_ICMP,
    IPPROTO_SCTP,
    IPPROTO_TCP,
    IPPROTO_UDP,
    IPPROTO_UDPLITE,
    IPv4,
)

TUPLE_PARTS = ("src", "dst", "sport", "dport", "spi", "proto", "ct")
"""Words of --hmark-tuple, in the order in which a shortened one is looked up."""

_STANDS_FOR = {
    "src": "hmark-src-prefix",
    "dst": "hmark-dst-prefix",
    "sport": "hmark-sport-mask",
    "dport": "hmark-dport-mask",
    "spi": "hmark-spi-mask",
    "proto": "hmark-proto-mask",
}

_IN_ORDER = (
    "hmark-src-prefix",
    "hmark-dst-prefix",
    "hmark-sport-mask",
    "hmark-dport-mask",
    "hmark-spi-mask",
    "hmark-sport",
    "hmark-dport",
    "hmark-spi",
    "hmark-proto-mask",
    "hmark-rnd",
    "hmark-mod",
    "hmark-offset",
)
"""As iptables-save prints them."""

PORTS_OFFSET = {
    IPPROTO_TCP: 0,
    IPPROTO_UDP: 0,
    IPPROTO_DCCP: 0,
    IPPROTO_ESP: 0,
    IPPROTO_SCTP: 0,
    IPPROTO_UDPLITE: 0,
    IPPROTO_AH: 4,
}
"""Where ports, or the SPI in their place, stand behind the IP header (proto_ports_offset)."""

ICMP_ERRORS = frozenset(
    {
        IcmpType.DEST_UNREACH,
        IcmpType.SOURCE_QUENCH,
        IcmpType.REDIRECT,
        IcmpType.TIME_EXCEEDED,
        IcmpType.PARAMETER_PROBLEM,
    }
)
ICMP_HEADER_LEN = 8
IPV4_HEADER_LEN = 20


class Prefix(Kind[int]):
    """A prefix length, or a mask in its place (XTTYPE_PLENMASK)."""

    form = "LENGTH|MASK"
    terminal = "TEXT"
    may_be_empty = True

    def read(self, text: str, call: OptionCall) -> int:
        """Return the length; a mask with gaps counts as a full one."""
        bits = octets_in(call.family) * 8
        if shape("NUMBER").fullmatch(text) is not None and c_integer(text) <= bits:
            return c_integer(text)
        mask = ipv6_octets(text) if call.family == Family.IPV6 else inet_aton(text)
        if mask is None:
            raise RulesetError(
                f'{call.extension}: bad value for option "--{call.option}", neither a valid '
                f"network mask nor valid CIDR (0-{bits})"
            )
        length = prefix_length(mask)
        return bits if length is None else length

    def show(self, value: int) -> str:
        """Print the length."""
        return str(value)


class Hexadecimal(Unsigned):
    """A number printed in hexadecimal with leading zeros."""

    def __init__(self, limits: Unsigned, digits: int) -> None:
        """Take the limits of another kind."""
        super().__init__(limits.low, limits.high)
        self.digits = digits

    def show(self, value: int) -> str:
        """Print so many digits at least."""
        return f"0x{value:0{self.digits}x}"


class TupleParts(Kind[tuple[str, ...]]):
    """Words joined by commas, in any case and cut short (hmark_parse_type)."""

    form = "PART[,PART...]"
    terminal = "TEXT"
    may_be_empty = True

    def read(self, text: str, call: OptionCall) -> tuple[str, ...]:
        """Return the words in full."""
        words = text.split(",")
        if not words[-1]:
            raise RulesetError(
                '"--hmark-tuple" requires a list of types with no spaces, e.g. '
                "src,dst,sport,dport,proto"
            )
        return tuple(self._word(word, text) for word in words)

    def _word(self, word: str, text: str) -> str:
        for part in TUPLE_PARTS:
            if word and part.startswith(word.casefold()):
                return part
        raise RulesetError(f'Bad type "{word or text}"; it takes {", ".join(TUPLE_PARTS)}')

    def show(self, value: tuple[str, ...]) -> str:
        """Print what is left once the other options were printed."""
        return ",".join(value)


class HashTuple(NamedTuple):
    """What is hashed (struct hmark_tuple)."""

    src: bytes
    dst: bytes
    ports: int
    """The higher port in the upper half."""
    protocol: int


class HMark:
    """struct xt_hmark_info."""

    __slots__ = (
        "dst_mask",
        "modulus",
        "offset",
        "port_mask",
        "port_set",
        "proto_mask",
        "rnd",
        "src_mask",
        "with_ct",
    )

    def __init__(self, settings: Settings) -> None:
        """Take the options apart; ports and SPI share 32 bits."""
        size = octets_in(settings.family)
        self.src_mask = mask_of(settings.get("hmark-src-prefix", int, 0), size)
        self.dst_mask = mask_of(settings.get("hmark-dst-prefix", int, 0), size)
        self.port_mask = _port_word(settings, "-mask")
        self.port_set = _port_word(settings, "")
        self.proto_mask = settings.get("hmark-proto-mask", int, 0) & 0xFF
        self.rnd = settings.need("hmark-rnd", int)
        self.modulus = settings.need("hmark-mod", int)
        self.offset = settings.get("hmark-offset", int, 0)
        self.with_ct = "hmark-tuple" in settings

    def ports(self, word: int) -> int:
        """Order two ports under mask and set bits (hmark_swap_ports)."""
        word = word & self.port_mask | self.port_set
        first, second = word >> 16, word & 0xFFFF
        return max(first, second) << 16 | min(first, second)


def _port_word(settings: Settings, suffix: str) -> int:
    """Join the two port options, or return the SPI's."""
    source = settings.get(f"hmark-sport{suffix}", int, 0)
    destination = settings.get(f"hmark-dport{suffix}", int, 0)
    return settings.get(f"hmark-spi{suffix}", int, 0) | source << 16 | destination


def hmark_tg(info: HMark, skb: Skb, param: XtParam) -> Verdict | None:
    """Set the mark to the hash."""
    found = _ct_tuple(info, skb) if info.with_ct else None
    if found is None:
        if info.with_ct or param.family != Family.IPV4:
            return None
        found = _packet_tuple(info, skb)
    if found is None:
        return None
    before = skb.mark
    skb.mark = hmark_hash(found, info)
    if param.net.sink is not None and skb.mark != before:
        param.net.tell(skb, MarkChanged(what="mark", before=before, after=skb.mark))
    return None


def hmark_hash(found: HashTuple, info: HMark) -> int:
    """Hash both addresses, the lower one first, and the ports."""
    low, high = sorted((int.from_bytes(found.src, "big"), int.from_bytes(found.dst, "big")))
    value = jhash2([low, high, found.ports], info.rnd) ^ (found.protocol & info.proto_mask)
    return reciprocal_scale(value, info.modulus) + info.offset & U32_MAX


def _masked(address: bytes, mask: bytes) -> bytes:
    return bytes(octet & bits for octet, bits in zip(address, mask, strict=True))


def _ct_tuple(info: HMark, skb: Skb) -> HashTuple | None:
    """Take who began and who answers (hmark_ct_set_htuple)."""
    connection, _ = nf_ct_get(skb)
    if connection is None or len(connection.original.src) != len(info.src_mask):
        return None
    original, reply = connection.original, connection.reply
    ports = 0
    if connection.protocol != IPPROTO_ICMP:
        ports = info.ports(original.src_part << 16 | reply.src_part)
    src, dst = _masked(original.src, info.src_mask), _masked(reply.src, info.dst_mask)
    return HashTuple(src, dst, ports, connection.protocol)


def _packet_tuple(info: HMark, skb: Skb) -> HashTuple | None:
    """Take the packet, or the one that an ICMP error quotes (hmark_pkt_set_htuple_ipv4)."""
    data = skb.data
    at = _inner_header(data)
    if len(data) < at + IPV4_HEADER_LEN:
        return None
    header = IPv4(data, at)
    src, dst = _masked(header.src, info.src_mask), _masked(header.dst, info.dst_mask)
    protocol = header.protocol
    ports = 0
    if not header.more_fragments and not header.fragment_offset and protocol in PORTS_OFFSET:
        start = at + header.header_len + PORTS_OFFSET[protocol]
        word = data[start : start + 4]
        ports = info.ports(int.from_bytes(word, "big")) if len(word) == 4 else 0
    return HashTuple(src, dst, ports, protocol)


def _inner_header(data: bytearray) -> int:
    """Return where the IP header is that counts (get_inner_hdr)."""
    header = IPv4(data)
    start = header.header_len
    if header.protocol != IPPROTO_ICMP or len(data) < start + ICMP_HEADER_LEN:
        return 0
    return start + ICMP_HEADER_LEN if data[start] in ICMP_ERRORS else 0


def hmark_effect(info: HMark, packet: Rewriting) -> None:
    """Set a mark that nobody reckons."""
    packet.forget(Field.MARK)


def _check_hmark(settings: Settings) -> None:
    """Take --hmark-tuple apart, then test what HMARK_check and hmark_tg_check test."""
    _spread_tuple(settings)
    for name in ("hmark-mod", "hmark-rnd"):
        if name not in settings:
            raise RulesetError(f"--{name} is mandatory")
    ports = ("hmark-sport", "hmark-dport")
    if "hmark-spi-mask" in settings and any(f"{name}-mask" in settings for name in ports):
        raise RulesetError(
            "you cannot use --hmark-spi-mask and --hmark-?port-mask, at the same time"
        )
    if "hmark-spi" in settings and any(name in settings for name in ports):
        raise RulesetError("HMARK: spi-set and port-set can't be combined")
    if not set(settings.given) - {"hmark-mod", "hmark-rnd", "hmark-offset"}:
        raise RulesetError("you have to specify --hmark-tuple at least")


def _spread_tuple(settings: Settings) -> None:
    """Turn the words into full masks; an option that a word set before may not come again."""
    given = settings.given.pop("hmark-tuple", None)
    if given is None:
        return
    words = given.value
    assert isinstance(words, tuple)
    names = [use.option.name for use in settings.order]
    behind = names[names.index("hmark-tuple") + 1 :]
    for word in words:
        if word == "ct":
            continue
        name = _STANDS_FOR[word]
        if name in behind:
            raise RulesetError(f'HMARK: option "--{name}" can only be used once')
        full = octets_in(settings.family) * 8 if name.endswith("prefix") else _FULL[name]
        settings.given[name] = given._replace(option=_OPTIONS[name], value=full)
    if "ct" in words:
        settings.given["hmark-tuple"] = given._replace(value=("ct",))


_FULL = {
    "hmark-sport-mask": 0xFFFF,
    "hmark-dport-mask": 0xFFFF,
    "hmark-spi-mask": U32_MAX,
    "hmark-proto-mask": 0xFFFF,
}


def _save_hmark(settings: Settings) -> str:
    return printed(settings, *_IN_ORDER, "hmark-tuple")


_EXPLAINED: tuple[tuple[str, Kind[int] | Kind[tuple[str, ...]], str], ...] = (
    ("hmark-tuple", TupleParts(), "What is hashed: src,dst,sport,dport,spi,proto; ct."),
    ("hmark-mod", U32(low=1), "Marks are below this number, before the offset is added."),
    ("hmark-offset", U32(), "Added to every mark."),
    ("hmark-rnd", Hexadecimal(U32(), 8), "Start value of the hash."),
    ("hmark-src-prefix", Prefix(), "Bits of the source that are hashed."),
    ("hmark-dst-prefix", Prefix(), "Bits of the destination that are hashed."),
    ("hmark-sport-mask", Hexadecimal(U16(), 4), "Bits of the source port that are hashed."),
    ("hmark-dport-mask", Hexadecimal(U16(), 4), "Bits of the destination port that are hashed."),
    ("hmark-spi-mask", Hexadecimal(U32(), 8), "Bits of the SPI that are hashed."),
    ("hmark-sport", Hexadecimal(U16(), 4), "Ored to the source port."),
    ("hmark-dport", Hexadecimal(U16(), 4), "Ored to the destination port."),
    ("hmark-spi", Hexadecimal(U32(), 8), "Ored to the SPI."),
    ("hmark-proto-mask", Hexadecimal(U16(), 2), "Bits of the protocol number that are hashed."),
)

_OPTIONS = {name: Option(name, kind, help=text) for name, kind, text in _EXPLAINED}

TARGETS = (
    Target(
        name="HMARK",
        kernel="xt_HMARK.c",
        duty="Sets the packet's mark to a hash of addresses, ports and protocol.",
        options=tuple(_OPTIONS.values()),
        check=_check_hmark,
        save=_save_hmark,
        shares=always,
        build=HMark,
        apply=hmark_tg,
        effect=hmark_effect,
    ),
)
