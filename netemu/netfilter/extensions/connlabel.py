"""Labels of a connection, 128 bits: match `connlabel`.

Kernel: net/netfilter/xt_connlabel.c (connlabel_mt, connlabel_mt_check).

Labels are given by number; names of /etc/xtables/connlabel.conf are not looked up, since that file
is the machine's own.
"""

from __future__ import annotations

from netemu.errors import RulesetError
from netemu.net import Net
from netemu.netfilter.conntrack.connection import nf_ct_get
from netemu.netfilter.conntrack.core import nf_ct_netns_get
from netemu.netfilter.xtables.kinds import Kind, OptionCall, c_integer, shape
from netemu.netfilter.xtables.kit import Match, Option, Settings, always
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.space import own_answer
from netemu.skb import Skb

MAX_LABEL = 127
"""XT_CONNLABEL_MAXBIT as the kernel has room for it (NF_CT_LABELS_MAX_SIZE)."""


_U16_MAX, _INT_MAX, _U32_MAX, _ULONG_MAX = 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF


class Label(Kind[int]):
    """A label's number; it is printed in quotes."""

    form = "0-127|NAME"
    terminal = "TEXT"
    may_be_empty = True

    def read(self, text: str, call: OptionCall) -> int:
        """Read a number."""
        if not text:
            raise RulesetError("Argument must have a minimum length of 1 characters")
        number = self._number(text)
        if number is None or number & _U16_MAX > MAX_LABEL:
            raise RulesetError(f"label '{text}' not found or invalid value; 0-{MAX_LABEL} would do")
        return number & _U16_MAX

    def _number(self, text: str) -> int | None:
        """Return what strtoul(3) and an int leave of a number; the label then is 16 bits of it."""
        negative = text.startswith("-")
        if shape("NUMBER").fullmatch(text[negative:]) is None:
            return None
        number = c_integer(text[negative:])
        if number > _ULONG_MAX:
            return None
        number = (-number if negative else number) & _U32_MAX
        return number if number <= _INT_MAX else None

    def show(self, value: int) -> str:
        """Print the number in quotes."""
        return f'"{value}"'


class Connlabel:
    """struct xt_connlabel_mtinfo."""

    __slots__ = ("bit", "invert", "set")

    def __init__(self, settings: Settings) -> None:
        """Take the options apart."""
        self.bit = 1 << settings.need("label", int)
        self.invert = settings.inverted("label")
        self.set = "set" in settings


def connlabel_mt(info: Connlabel, skb: Skb, param: XtParam) -> bool:
    """Look at the label; set it if asked to, which counts as having it."""
    connection, _ = nf_ct_get(skb)
    if connection is None:
        return info.invert
    if info.set:
        connection.labels |= info.bit
    return bool(connection.labels & info.bit) != info.invert


def describe_connlabel(info: Connlabel, skb: Skb, param: XtParam) -> str:
    """Say the connection's labels."""
    connection, _ = nf_ct_get(skb)
    if connection is None:
        return "no connection"
    labels = [str(bit) for bit in range(MAX_LABEL + 1) if connection.labels >> bit & 1]
    return f"labels {','.join(labels)}" if labels else "no labels"


def attach_connlabel(net: Net, info: Connlabel) -> None:
    """Begin to track connections (connlabel_mt_check)."""
    nf_ct_netns_get(net)


MATCHES = (
    Match(
        name="connlabel",
        kernel="xt_connlabel.c",
        duty="Looks at, or sets, a label of the packet's connection.",
        options=(
            Option("label", Label(), invertible=True, mandatory=True, help="The label's number."),
            Option("set", help="Sets it first."),
        ),
        shares=always,
        build=Connlabel,
        evaluate=connlabel_mt,
        packets=own_answer,
        attach=attach_connlabel,
        describe=describe_connlabel,
    ),
)
