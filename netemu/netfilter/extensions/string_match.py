"""Octets anywhere in the packet: match `string`.

Kernel: net/netfilter/xt_string.c (string_mt), net/core/skbuff.c (skb_find_text), lib/ts_bm.c,
lib/ts_kmp.c.

Theory of operation: the pattern must lie wholly between --from and --to, counted from the IP
header. Without regard to case the kernel compares capitals of Latin-1. Boyer-Moore (bm) looks at
each piece of a packet alone, Knuth-Morris-Pratt (kmp) also across pieces; only a datagram that was
put together from fragments has several, the first one with the IP header.

Differs from Linux: of --icase with bm, a pattern with a Latin-1 sharp s or y with diaeresis is
found wherever it is, where the kernel's jump table may step over it.
"""

from __future__ import annotations

from typing import NoReturn

from netemu.errors import RulesetError
from netemu.netfilter.xtables.kinds import U16, Kind, OptionCall, Text, octets_of, text_of
from netemu.netfilter.xtables.kit import Match, Option, Settings, always, printed
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.space import same_for_all
from netemu.skb import Skb

MAX_PATTERN = 128
"""Octets of a pattern (XT_STRING_MAX_PATTERN_SIZE)."""

METHODS = ("bm", "kmp")
OFFSET_MAX = 0xFFFF

CAPITALS = bytes(
    octet - 32 if 0x61 <= octet <= 0x7A or (octet >= 0xDF and octet != 0xF7) else octet
    for octet in range(256)
)
"""The kernel's toupper(): ASCII and Latin-1 (lib/ctype.c)."""


class Pattern(Kind[bytes]):
    """The octets as they are written (parse_string)."""

    form = "TEXT"
    terminal = "TEXT"
    may_be_empty = True

    def read(self, text: str, call: OptionCall) -> bytes:
        """Check the length in octets."""
        return _checked(octets_of(text), text)

    def show(self, value: bytes) -> str:
        """Print between quotes."""
        return quoted_pattern(value)


class HexPattern(Pattern):
    """Octets of which those between `|` are hexadecimal; a backslash makes the next one plain."""

    def read(self, text: str, call: OptionCall) -> bytes:
        """Read octet by octet, with the steps of parse_hex_string."""
        octets = octets_of(text)
        if not octets:
            raise RulesetError("STRING must contain at least one char")
        found = bytearray()
        at = 0
        in_hex = False
        while at < len(octets):
            if octets[at] == _BAR:
                in_hex = not in_hex
                at += 1
                while in_hex and octets[at : at + 1] == b" ":
                    at += 1
                if at >= len(octets):
                    break
                literal = False
            else:
                literal = octets[at] == _BACKSLASH
                if literal and in_hex:
                    raise RulesetError("Cannot include literals in hex data")
            if literal:
                if at + 1 >= len(octets):
                    raise RulesetError("Bad literal placement at end of string")
                found.append(octets[at + 1])
                at += 2
            elif in_hex:
                found.append(_hex_octet(octets, at))
                at += 3 if octets[at + 2] == _BLANK else 2
            else:
                found.append(octets[at])
                at += 1
        return _checked(bytes(found), text)


_BAR, _BACKSLASH, _BLANK, _QUOTE = b'|\\ "'


def _hex_octet(octets: bytes, at: int) -> int:
    if at + 1 >= len(octets):
        raise RulesetError("Odd number of hex digits")
    if at + 2 >= len(octets):
        raise RulesetError("Invalid hex block; `|` must end it")
    for digit in octets[at : at + 2]:
        if chr(digit) not in "0123456789abcdefABCDEF":
            raise RulesetError(f"Invalid hex char '{chr(digit)}'")
    return int(octets[at : at + 2], 16)


def _checked(octets: bytes, text: str) -> bytes:
    if len(octets) > MAX_PATTERN:
        raise RulesetError(f'STRING too long "{text}"; {MAX_PATTERN} octets fit')
    return octets


def needs_hex(octets: bytes) -> bool:
    """Return whether a pattern is printed in hexadecimal (is_hex_string)."""
    return octets.endswith(b"\\") or any(not 0x20 <= octet < 0x7F for octet in octets)


def quoted_pattern(octets: bytes) -> str:
    """Print between quotes, in hexadecimal where it must be."""
    if needs_hex(octets):
        return f'"|{octets.hex()}|"'
    escaped = octets.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    return f'"{text_of(escaped)}"'


class StringInfo:
    """struct xt_string_info with its textsearch configuration."""

    __slots__ = ("first", "icase", "in_pieces", "invert", "last", "pattern")

    def __init__(self, settings: Settings) -> None:
        """Take the options apart."""
        self.first = settings.get("from", int, 0)
        self.last = settings.get("to", int, OFFSET_MAX)
        self.icase = "icase" in settings
        self.in_pieces = settings.need("algo", str) == "bm"
        self.invert = settings.inverted("string")
        pattern = settings.need("string", bytes)
        self.pattern = pattern.translate(CAPITALS) if self.icase else pattern


def skb_find_text(info: StringInfo, skb: Skb) -> int:
    """Return where the pattern begins, or -1."""
    text = skb.data.translate(CAPITALS) if info.icase else skb.data
    if not info.in_pieces or skb.frag_list is None:
        return text.find(info.pattern, info.first, info.last)
    start = 0
    end = skb.transport_offset
    for octets in skb.frag_list:
        end += octets
        at = text.find(info.pattern, max(start, info.first), min(end, info.last))
        if at >= 0:
            return at
        start = end
    return -1


def string_mt(info: StringInfo, skb: Skb, param: XtParam) -> bool:
    """Look for the pattern."""
    return (skb_find_text(info, skb) >= 0) != info.invert


def describe_string(info: StringInfo, skb: Skb, param: XtParam) -> str:
    """Say where the pattern begins."""
    at = skb_find_text(info, skb)
    return "not found" if at < 0 else f"found at {at}"


def _refuse(what: str) -> NoReturn:
    raise RulesetError(f"string: {what}")


def _check_string(settings: Settings) -> None:
    """Test what libxt_string and string_mt_check test."""
    if "string" not in settings:
        raise RulesetError("STRING match: You must specify `--string' or `--hex-string'")
    if not settings.need("string", bytes):
        _refuse("the kernel refuses an empty pattern")
    method = settings.need("algo", str)
    if method not in METHODS:
        _refuse(f"the kernel does not know `{method}'; --algo takes {', '.join(METHODS)}")
    if settings.get("from", int, 0) > settings.get("to", int, OFFSET_MAX):
        _refuse("the kernel refuses a --from that lies behind --to")


def _save_string(settings: Settings) -> str:
    """Print the pattern as it can be read back, whatever way it was written."""
    octets = settings.need("string", bytes)
    name = "hex-string" if needs_hex(octets) else "string"
    bang = "! " if settings.inverted("string") else ""
    rest = printed(settings, "algo", "from", "to", "icase")
    return f"{bang}--{name} {quoted_pattern(octets)} {rest}"


MATCHES = (
    Match(
        name="string",
        kernel="xt_string.c",
        duty="Looks for octets anywhere in the packet.",
        options=(
            Option(
                "string",
                Pattern(),
                invertible=True,
                excludes=("hex-string",),
                help="The octets as written.",
                says="the text {value} {is} in the packet",
            ),
            Option(
                "hex-string",
                HexPattern(),
                into="string",
                invertible=True,
                excludes=("string",),
                help="The octets, hexadecimal between bars: |0d 0a|.",
            ),
            Option("algo", Text(raw=True), mandatory=True, help="How to look: bm or kmp."),
            Option("from", U16(), silent=0, help="The pattern begins at this offset or behind."),
            Option("to", U16(), silent=OFFSET_MAX, help="The pattern ends at this offset at most."),
            Option("icase", help="Small letters and capitals are the same."),
        ),
        check=_check_string,
        save=_save_string,
        shares=always,
        build=StringInfo,
        evaluate=string_mt,
        packets=same_for_all,
        describe=describe_string,
    ),
)
