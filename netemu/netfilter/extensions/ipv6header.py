"""Which extension headers a packet has: match `ipv6header`.

Kernel: net/ipv6/netfilter/ip6t_ipv6header.c (ipv6header_mt6).

Without --soft the packet must have these headers and no others; `protocol` is any header that is
none of the named ones. With --soft it must have all of these, and with `! --header --soft` none:
there the inversion is of every single header.
"""

from __future__ import annotations

import re

from netemu.errors import RulesetError
from netemu.netfilter.hook import Family
from netemu.netfilter.xtables.ip6 import (
    EXTENSION_HEADERS,
    IPV6_HEADER_LEN,
    NEXTHDR_AUTH,
    NEXTHDR_DEST,
    NEXTHDR_ESP,
    NEXTHDR_FRAGMENT,
    NEXTHDR_HOP,
    NEXTHDR_NONE,
    NEXTHDR_ROUTING,
    header_len,
)
from netemu.netfilter.xtables.kinds import Kind, OptionCall
from netemu.netfilter.xtables.kit import Match, Option, Settings, always
from netemu.netfilter.xtables.names import protocol_number
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.space import same_for_all
from netemu.skb import Skb

_PROTOCOL = 255
"""IPPROTO_RAW: stands for the upper protocol in the option."""

MASKS = {
    NEXTHDR_HOP: 128,
    NEXTHDR_DEST: 64,
    NEXTHDR_ROUTING: 32,
    NEXTHDR_FRAGMENT: 16,
    NEXTHDR_AUTH: 8,
    NEXTHDR_ESP: 4,
    NEXTHDR_NONE: 2,
    _PROTOCOL: 1,
}
"""MASK_*, in the order of printing."""

SHOWN = (
    "hop-by-hop",
    "ipv6-opts",
    "ipv6-route",
    "ipv6-frag",
    "ah",
    "esp",
    "ipv6-nonxt",
    "protocol",
)

_WORDS = {
    "hop-by-hop": NEXTHDR_HOP,
    "protocol": _PROTOCOL,
    "hop": NEXTHDR_HOP,
    "dst": NEXTHDR_DEST,
    "route": NEXTHDR_ROUTING,
    "frag": NEXTHDR_FRAGMENT,
    "auth": NEXTHDR_AUTH,
    "esp": NEXTHDR_ESP,
    "none": NEXTHDR_NONE,
    "prot": _PROTOCOL,
}
_ALIASES = {
    "HOPOPT": NEXTHDR_HOP,
    "IPv6-Route": NEXTHDR_ROUTING,
    "IPv6-Frag": NEXTHDR_FRAGMENT,
    "IPSEC-ESP": NEXTHDR_ESP,
    "IPSEC-AH": NEXTHDR_AUTH,
    "IPv6-NoNxt": NEXTHDR_NONE,
    "IPv6-Opts": NEXTHDR_DEST,
}
"""Aliases of /etc/protocols, which are looked up as they are written."""


class HeaderList(Kind[int]):
    """Headers by name or number, joined by commas; empty words are passed over (parse_header)."""

    form = "HEADER[,HEADER...]"
    terminal = "TEXT"
    may_be_empty = True

    def read(self, text: str, call: OptionCall) -> int:
        """Or the bits together."""
        bits = 0
        for word in filter(None, text.split(",")):
            bits |= self._mask(word)
        if not bits:
            raise RulesetError("ip6t_ipv6header: cannot parse header names")
        return bits

    @staticmethod
    def _mask(word: str) -> int:
        number = _number_of(word)
        if number not in MASKS:
            said = word if number is None else number
            raise RulesetError(f"unknown header `{said}' specified; it takes {', '.join(_WORDS)}")
        return MASKS[number]

    def show(self, value: int) -> str:
        """Print the long names."""
        names = zip(SHOWN, MASKS.values(), strict=True)
        return ",".join(name for name, bit in names if value & bit)


def _number_of(word: str) -> int | None:
    if re.fullmatch("0|[1-9][0-9]*", word):
        return int(word) if word in {str(number) for number in MASKS} else None
    found = _WORDS.get(word, _ALIASES.get(word))
    return found if found is not None else protocol_number(word)


class Ipv6header:
    """struct ip6t_ipv6header_info."""

    __slots__ = ("headers", "invert", "soft")

    def __init__(self, settings: Settings) -> None:
        """Take the options apart."""
        self.headers = settings.need("header", int)
        self.invert = settings.inverted("header")
        self.soft = "soft" in settings


def ipv6header_mt6(info: Ipv6header, skb: Skb, param: XtParam) -> bool:
    """List the headers and compare."""
    present = headers_of(skb.data)
    if present is None:
        return False
    if info.soft:
        return present & info.headers == (0 if info.invert else info.headers)
    return (present == info.headers) != info.invert


def headers_of(data: bytearray) -> int | None:
    """Return MASK_* of all headers; None when the packet has no room for one."""
    bits = 0
    protocol = data[6]
    at = IPV6_HEADER_LEN
    room = len(data) - at
    while protocol in EXTENSION_HEADERS or protocol == NEXTHDR_ESP:
        if protocol == NEXTHDR_NONE:
            return bits | MASKS[NEXTHDR_NONE]
        if room < 2:
            return None
        bits |= MASKS[protocol]
        if protocol == NEXTHDR_ESP:
            return bits
        length = header_len(data, at, protocol)
        protocol = data[at]
        at += length
        room -= length
        if at > len(data):
            break
    if protocol in {NEXTHDR_NONE, NEXTHDR_ESP}:
        return bits
    return bits | MASKS[_PROTOCOL]


def describe_ipv6header(info: Ipv6header, skb: Skb, param: XtParam) -> str:
    """Say which headers there are."""
    present = headers_of(skb.data)
    return "headers cut short" if present is None else HeaderList().show(present)


MATCHES = (
    Match(
        name="ipv6header",
        kernel="ip6t_ipv6header.c",
        duty="Compares which extension headers a packet has.",
        options=(
            Option(
                "header",
                HeaderList(),
                invertible=True,
                mandatory=True,
                help="Exactly these headers.",
            ),
            Option("soft", help="At least these; inverted, none of these."),
        ),
        families=(Family.IPV6,),
        shares=always,
        build=Ipv6header,
        evaluate=ipv6header_mt6,
        packets=same_for_all,
        describe=describe_ipv6header,
    ),
)
