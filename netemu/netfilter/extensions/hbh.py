"""The option headers of IPv6: matches `hbh` (hop-by-hop) and `dst` (destination options).

Kernel: net/ipv6/netfilter/ip6t_hbh.c (hbh_mt6).

Options are compared one after the other from the first; the packet may have more of them. A packet
whose header ends before the last one wanted does not match.
"""

from __future__ import annotations

import re

from netemu.errors import RulesetError
from netemu.netfilter.hook import Family
from netemu.netfilter.xtables.ip6 import (
    NEXTHDR_DEST,
    NEXTHDR_HOP,
    Missing,
    ipv6_find_hdr,
    ipv6_optlen,
)
from netemu.netfilter.xtables.kinds import U32, Kind, OptionCall, c_integer
from netemu.netfilter.xtables.kit import Match, Option, Settings, always
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.space import same_for_all
from netemu.netfilter.xtables.token_bucket import U64_MAX
from netemu.skb import Skb

MAX_OPTIONS = 16
"""IP6T_OPTS_OPTSNR."""

ANY_LEN = 0xFF
"""A length of 255 stands for any."""

Wanted = tuple[int, int]
"""Type and length of an option."""

_NUMBER = re.compile(
    r"([ \t\n\v\f\r]*)([+-]?)(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)(.*)", re.DOTALL
)


class OptionList(Kind[tuple[Wanted, ...]]):
    """`type[:length],...`, up to 16 (parse_options)."""

    form = "TYPE[:LENGTH][,...]"
    terminal = "TEXT"
    may_be_empty = True

    def read(self, text: str, call: OptionCall) -> tuple[Wanted, ...]:
        """Convert each; numbers beyond an octet lose their upper bits."""
        parts = text.split(",")
        wanted = []
        for part in parts[:MAX_OPTIONS]:
            type_text, colon, length_text = part.partition(":")
            kind = _number(type_text, "opt", call) & 0xFF
            if colon and not kind:
                raise RulesetError(f"{call.extension}: Pad1 (type 0) has no length")
            wanted.append((kind, _number(length_text, "length", call) & 0xFF if colon else ANY_LEN))
        if len(parts) > MAX_OPTIONS:
            raise RulesetError(f"too many addresses specified; {MAX_OPTIONS} options would do")
        return tuple(wanted)

    def show(self, value: tuple[Wanted, ...]) -> str:
        """Print a length unless it is any."""
        return ",".join(
            str(kind) if length == ANY_LEN else f"{kind}:{length}" for kind, length in value
        )


def _number(text: str, what: str, call: OptionCall) -> int:
    """Read a number as strtoul(3) does, with its sign (parse_opts_num)."""
    found = _NUMBER.fullmatch(text)
    if found is None:
        raise RulesetError(f"{call.extension}: no valid digits in {what} `{text}'")
    number = c_integer(found[3])
    if number > U64_MAX:
        raise RulesetError(f"{what} `{text}' specified too big: would overflow")
    if found[4]:
        raise RulesetError(f"{call.extension}: error parsing {what} `{text}'; 0-255 would do")
    return -number if found[2] == "-" else number


class Opts:
    """struct ip6t_opts."""

    __slots__ = ("header", "invert_len", "length", "options")

    def __init__(self, settings: Settings) -> None:
        """Take the options apart; the names begin with the match's own."""
        name = settings.extension
        self.header = NEXTHDR_HOP if name == "hbh" else NEXTHDR_DEST
        self.length = settings.get(f"{name}-len", int)
        self.invert_len = settings.inverted(f"{name}-len")
        given = settings.given.get(f"{name}-opts")
        self.options: tuple[Wanted, ...] = ()
        if given is not None:
            assert isinstance(given.value, tuple)
            self.options = given.value


def hbh_mt6(info: Opts, skb: Skb, param: XtParam) -> bool:
    """Find the header, compare its length, then its options."""
    data = skb.data
    found = ipv6_find_hdr(data, info.header)
    if isinstance(found, Missing):
        param.hotdrop = found.malformed
        return False
    header_len = ipv6_optlen(data, found.offset)
    if len(data) - found.offset < header_len:
        return False
    if info.length is not None and (info.length == header_len) == info.invert_len:
        return False
    return _has_options(info.options, data, found.offset + 2, header_len - 2)


def _has_options(wanted: tuple[Wanted, ...], data: bytearray, at: int, room: int) -> bool:
    """Walk the options beside those wanted."""
    for number, (kind, length) in enumerate(wanted, 1):
        if room < 1 or at >= len(data) or data[at] != kind:
            return False
        step = 1
        if kind:
            if room < 2 or at + 1 >= len(data):
                return False
            if length not in {ANY_LEN, data[at + 1]}:
                return False
            step = data[at + 1] + 2
        if number < len(wanted) and (at > len(data) - step or room < step):
            return False
        at += step
        room -= step
    return True


def describe_opts(info: Opts, skb: Skb, param: XtParam) -> str:
    """Say how long the header is."""
    found = ipv6_find_hdr(skb.data, info.header)
    if isinstance(found, Missing):
        return "no such header"
    return f"header of {ipv6_optlen(skb.data, found.offset)} octets"


def _opts_match(name: str, what: str) -> Match[Opts]:
    return Match(
        name=name,
        kernel="ip6t_hbh.c",
        duty=f"Looks at the {what} header.",
        options=(
            Option(f"{name}-len", U32(), invertible=True, help="Octets of the header."),
            Option(f"{name}-opts", OptionList(), help="Types, and lengths, of its first options."),
        ),
        families=(Family.IPV6,),
        shares=always,
        build=Opts,
        evaluate=hbh_mt6,
        packets=same_for_all,
        describe=describe_opts,
    )


MATCHES = (_opts_match("hbh", "hop-by-hop options"), _opts_match("dst", "destination options"))
