"""The queueing class of a packet: target `CLASSIFY`.

Kernel: net/netfilter/xt_CLASSIFY.c (classify_tg).
"""

from __future__ import annotations

import re

from netemu.errors import RulesetError
from netemu.events import MarkChanged
from netemu.netfilter.hook import Hook, Verdict
from netemu.netfilter.xtables.kinds import Kind, OptionCall
from netemu.netfilter.xtables.kit import Option, Target, always
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.space import changes_nothing
from netemu.skb import Skb

_BLANKS = r"[ \t\n\v\f\r]*"
_NUMBER = _BLANKS + r"([+-]?)(?:0[xX])?([0-9a-fA-F]*)"
_CLASS = re.compile(f"{_NUMBER}:{_NUMBER}")
_ULONG_MAX = (1 << 64) - 1


class TrafficClass(Kind[int]):
    """`major:minor` in hexadecimal; what follows is not looked at (sscanf %x:%x)."""

    form = "MAJOR:MINOR"
    terminal = "TEXT"
    may_be_empty = True

    def read(self, text: str, call: OptionCall) -> int:
        """Keep 16 bits of each half."""
        found = _CLASS.match(text)
        if found is None or not self._is_number(text) or not self._is_number(found[0], last=True):
            raise RulesetError(f'Bad class value "{text}"; MAJOR:MINOR in hexadecimal would do')
        major = _half(found[1], found[2])
        minor = _half(found[3], found[4])
        return (major & 0xFFFF) << 16 | minor & 0xFFFF

    def _is_number(self, text: str, *, last: bool = False) -> bool:
        """Return whether a half holds a digit; the 0 of a bare `0x` is one."""
        half = text.rpartition(":")[2] if last else text.partition(":")[0]
        return any(character in "0123456789abcdefABCDEF" for character in half)

    def show(self, value: int) -> str:
        """Print four digits of each."""
        return f"{value >> 16:04x}:{value & 0xFFFF:04x}"


def _half(sign: str, digits: str) -> int:
    """Return what strtoul(3) makes of hexadecimal digits, cut to 32 bits."""
    number = min(int(digits or "0", 16), _ULONG_MAX)
    return (-number if sign == "-" else number) & 0xFFFFFFFF


def classify_tg(priority: int, skb: Skb, param: XtParam) -> Verdict | None:
    """Set the packet's priority, which queueing disciplines look at."""
    before = skb.priority
    skb.priority = priority
    if param.net.sink is not None and before != priority:
        param.net.tell(skb, MarkChanged(what="priority", before=before, after=priority))
    return None


TARGETS = (
    Target(
        name="CLASSIFY",
        kernel="xt_CLASSIFY.c",
        duty="Sets the packet's priority, by which queueing disciplines classify it.",
        hooks=(Hook.FORWARD, Hook.OUTPUT, Hook.POSTROUTING),
        options=(
            Option(
                "set-class",
                TrafficClass(),
                mandatory=True,
                help="The class as MAJOR:MINOR, in hexadecimal.",
            ),
        ),
        shares=always,
        build=lambda settings: settings.need("set-class", int),
        apply=classify_tg,
        effect=changes_nothing,
    ),
)
