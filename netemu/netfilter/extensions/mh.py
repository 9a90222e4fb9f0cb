"""The type of a Mobile IPv6 message: match `mh`.

Kernel: net/netfilter/xt_mh.c, net/ipv6/netfilter/ip6t_mh.c (mh_mt6).

A message that names a further protocol is dropped, since RFC 6275 has none there.
"""

from __future__ import annotations

from netemu.errors import RulesetError
from netemu.netfilter.hook import Family
from netemu.netfilter.xtables.ip6 import NEXTHDR_NONE
from netemu.netfilter.xtables.kinds import Kind, OptionCall, Span, c_integer, shape
from netemu.netfilter.xtables.kit import Match, Option, Settings, always
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.space import same_for_all
from netemu.skb import Skb

IPPROTO_MH = 135
_HEADER_LEN = 6
_ANY = Span(0, 0xFF)

MH_NAMES = {
    "binding-refresh-request": 0,
    "brr": 0,
    "home-test-init": 1,
    "hoti": 1,
    "careof-test-init": 2,
    "coti": 2,
    "home-test": 3,
    "hot": 3,
    "careof-test": 4,
    "cot": 4,
    "binding-update": 5,
    "bu": 5,
    "binding-acknowledgement": 6,
    "ba": 6,
    "binding-error": 7,
    "be": 7,
}
"""Names as `ip6tables -m mh -h` lists them."""


class MhTypes(Kind[Span]):
    """A type or range of them, by name, beginning of a name, or number (parse_mh_types)."""

    form = "TYPE[:TYPE]"
    terminal = "TEXT"
    may_be_empty = True

    def read(self, text: str, call: OptionCall) -> Span:
        """Fill an absent end with the limit."""
        first, colon, last = text.partition(":")
        if not colon:
            return Span(_type(text), _type(text))
        low = _type(first) if first else 0
        high = _type(last) if last else 0xFF
        if low > high:
            raise RulesetError("Invalid MH type range (min > max)")
        return Span(low, high)

    def show(self, value: Span) -> str:
        """Print a single type alone."""
        return str(value.low) if value.low == value.high else f"{value.low}:{value.high}"


def _type(text: str) -> int:
    """Look a whole name up, then its beginning, then a number."""
    name = text.casefold()
    if name in MH_NAMES:
        return MH_NAMES[name]
    found = next((number for word, number in MH_NAMES.items() if word.startswith(name)), None)
    if found is not None:
        return found
    if shape("NUMBER").fullmatch(text) is None or c_integer(text) > 0xFF:
        raise RulesetError(f"Invalid MH type `{text}'; 0-255 or {', '.join(MH_NAMES)} would do")
    return c_integer(text)


class Mh:
    """struct ip6t_mh."""

    __slots__ = ("invert", "types")

    def __init__(self, settings: Settings) -> None:
        """Take the one option apart."""
        self.types = settings.get("mh-type", Span, _ANY)
        self.invert = settings.inverted("mh-type")


def mh_mt6(info: Mh, skb: Skb, param: XtParam) -> bool:
    """Compare the type."""
    if param.fragoff:
        return False
    data = skb.data
    at = param.thoff
    if len(data) < at + _HEADER_LEN or data[at] != NEXTHDR_NONE:
        param.hotdrop = True
        return False
    return (info.types.low <= data[at + 2] <= info.types.high) != info.invert


def describe_mh(info: Mh, skb: Skb, param: XtParam) -> str:
    """Say the type."""
    if param.fragoff or len(skb.data) < param.thoff + _HEADER_LEN:
        return "no mobility header"
    return f"type {skb.data[param.thoff + 2]}"


MATCHES = (
    Match(
        name="mh",
        kernel="xt_mh.c",
        duty="Compares the type of a Mobile IPv6 message.",
        options=(
            Option("mh-type", MhTypes(), invertible=True, silent=_ANY, help="Type, or a range."),
        ),
        protocols=(IPPROTO_MH,),
        families=(Family.IPV6,),
        shares=always,
        build=Mh,
        evaluate=mh_mt6,
        packets=same_for_all,
        describe=describe_mh,
    ),
)
