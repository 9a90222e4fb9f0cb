"""How much a connection has carried: match `connbytes`.

Kernel: net/netfilter/xt_connbytes.c (connbytes_mt, connbytes_mt_check).

The packet at hand is counted already. A rule with this match turns on
net.netfilter.nf_conntrack_acct; connections that began before it have no counters and never match.

An inverted range is kept the wrong way round, as the kernel's structure does, so of a single number
the inversion is lost: `! --connbytes 10:10` is `--connbytes 10:10`.
"""

from __future__ import annotations

from netemu.errors import RulesetError
from netemu.net import Net
from netemu.netfilter.conntrack.connection import Counter, nf_ct_get
from netemu.netfilter.conntrack.core import nf_ct_netns_get
from netemu.netfilter.xtables.kinds import Choice, Kind, OptionCall, Span, c_integer
from netemu.netfilter.xtables.kit import Match, Option, Settings, always
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.space import own_answer
from netemu.netfilter.xtables.token_bucket import U64_MAX
from netemu.skb import Skb

DIRECTIONS = {"original": (0,), "reply": (1,), "both": (0, 1)}
ACCT = "net.netfilter.nf_conntrack_acct"


class OpenRange(Kind[Span]):
    """`low`, `low:`, `:high` or `low:high`; a single number has no upper end (XTTYPE_UINT64RC)."""

    form = "[LOW]:[HIGH]"
    terminal = "NUMBER_RANGE"
    may_be_empty = True

    def refusal(self, text: str, call: OptionCall) -> str:
        """Word it as xtopt_parse_mint does."""
        return (
            f'{call.extension}: bad value for option "--{call.option}" near "{text}", '
            f"or out of range (0-{U64_MAX})"
        )

    def read(self, text: str, call: OptionCall) -> Span:
        """Fill an absent end with the limit."""
        first, _, last = text.partition(":")
        low = c_integer(first) if first else 0
        high = c_integer(last) if last else U64_MAX
        if max(low, high) > U64_MAX:
            raise RulesetError(self.refusal(text, call))
        if high < low:
            raise RulesetError(f"{low} should be less than {high}")
        return Span(low, high)

    def show(self, value: Span) -> str:
        """Print an upper end that is a limit."""
        return str(value.low) if value.high == U64_MAX else f"{value.low}:{value.high}"


class WrongWord(Choice):
    """One of a few words, refused as libxt_connbytes does."""

    def refusal(self, text: str, call: OptionCall) -> str:
        """Name the words that would do."""
        return f"Unknown --{call.option} `{text}'; it takes {', '.join(self.words)}"


class Connbytes:
    """struct xt_connbytes_info."""

    __slots__ = ("directions", "invert", "mode", "span")

    def __init__(self, settings: Settings) -> None:
        """Take the options apart."""
        self.span = settings.need("connbytes", Span)
        self.invert = _inverted(settings)
        self.directions = DIRECTIONS[settings.need("connbytes-dir", str)]
        self.mode = settings.need("connbytes-mode", str)

    def value(self, counters: tuple[Counter, Counter]) -> int:
        """Return what is compared."""
        packets = sum(counters[direction].packets for direction in self.directions)
        if self.mode == "packets":
            return packets
        octets = sum(counters[direction].octets for direction in self.directions)
        if self.mode == "bytes":
            return octets
        return octets // packets if packets else 0


def connbytes_mt(info: Connbytes, skb: Skb, param: XtParam) -> bool:
    """Compare packets, octets or octets per packet."""
    connection, _ = nf_ct_get(skb)
    if connection is None or connection.counters is None:
        return False
    return (info.span.low <= info.value(connection.counters) <= info.span.high) != info.invert


def describe_connbytes(info: Connbytes, skb: Skb, param: XtParam) -> str:
    """Say what the connection has carried."""
    connection, _ = nf_ct_get(skb)
    if connection is None:
        return "no connection"
    if connection.counters is None:
        return "a connection without counters"
    return f"{info.mode} {info.value(connection.counters)}"


def attach_connbytes(net: Net, info: Connbytes) -> None:
    """Begin to track and to count (connbytes_mt_check)."""
    nf_ct_netns_get(net)
    if not net.sysctl.get(ACCT):
        net.sysctl.set(ACCT, "1")


def _inverted(settings: Settings) -> bool:
    span = settings.need("connbytes", Span)
    return settings.inverted("connbytes") and span.low != span.high


def _save_connbytes(settings: Settings) -> str:
    span = settings.need("connbytes", Span)
    mode = settings.need("connbytes-mode", str)
    direction = settings.need("connbytes-dir", str)
    return (
        f"{'! ' if _inverted(settings) else ''}--connbytes {OpenRange().show(span)} "
        f"--connbytes-mode {mode} --connbytes-dir {direction}"
    )


MATCHES = (
    Match(
        name="connbytes",
        kernel="xt_connbytes.c",
        duty="Compares how much the packet's connection has carried.",
        options=(
            Option(
                "connbytes", OpenRange(), invertible=True, mandatory=True, help="From, and up to."
            ),
            Option(
                "connbytes-dir",
                WrongWord(*DIRECTIONS),
                mandatory=True,
                help="The direction that is counted.",
            ),
            Option(
                "connbytes-mode",
                WrongWord("packets", "bytes", "avgpkt"),
                mandatory=True,
                help="Packets, octets, or octets per packet.",
            ),
        ),
        save=_save_connbytes,
        shares=always,
        build=Connbytes,
        evaluate=connbytes_mt,
        packets=own_answer,
        attach=attach_connbytes,
        describe=describe_connbytes,
    ),
)
