"""The largest segment that a TCP header announces: match `tcpmss`.

Kernel: net/netfilter/xt_tcpmss.c (tcpmss_mt).

The first option of kind 2 and length 4 counts; a header that is cut short drops the packet.
"""

from __future__ import annotations

from netemu.errors import RulesetError
from netemu.netfilter.xtables.kinds import Span, UnsignedRange
from netemu.netfilter.xtables.kit import Match, Option, Settings, always
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.space import own_answer
from netemu.skb import Skb
from netemu.wire.fields import get16
from netemu.wire.ipv4 import IPPROTO_TCP
from netemu.wire.tcp import MIN_HEADER_LEN

TCPOPT_MSS = 2
TCPOLEN_MSS = 4
MSS_MAX = 0xFFFF


class TcpmssInfo:
    """struct xt_tcpmss_match_info."""

    __slots__ = ("high", "invert", "low")

    def __init__(self, settings: Settings) -> None:
        """Take the one option apart."""
        span = settings.need("mss", Span)
        self.low = span.low
        self.high = span.high
        self.invert = settings.inverted("mss")


def find_mss(options: bytes | bytearray) -> int | None:
    """Return the value of the first MSS option."""
    at = 0
    while at < len(options):
        kind = options[at]
        if (
            kind == TCPOPT_MSS
            and len(options) - at >= TCPOLEN_MSS
            and options[at + 1] == TCPOLEN_MSS
        ):
            return get16(options, at + 2)
        if kind < 2 or at + 1 >= len(options):
            at += 1
        else:
            at += options[at + 1] or 1
    return None


def tcp_options(skb: Skb, param: XtParam) -> bytes | None:
    """Return the options of the TCP header, None when they are cut short."""
    data = skb.data
    start = param.thoff
    if len(data) < start + MIN_HEADER_LEN:
        return None
    header_len = (data[start + 12] >> 4) * 4
    if header_len < MIN_HEADER_LEN or len(data) < start + header_len:
        return None
    return bytes(data[start + MIN_HEADER_LEN : start + header_len])


def tcpmss_mt(info: TcpmssInfo, skb: Skb, param: XtParam) -> bool:
    """Compare the announced size; without one only the inverse holds."""
    options = tcp_options(skb, param)
    if options is None:
        param.hotdrop = True
        return False
    mss = find_mss(options)
    return (mss is not None and info.low <= mss <= info.high) != info.invert


def describe_tcpmss(info: TcpmssInfo, skb: Skb, param: XtParam) -> str:
    """Say the announced size."""
    options = tcp_options(skb, param)
    if options is None:
        return "header cut short"
    mss = find_mss(options)
    return "no MSS" if mss is None else f"mss {mss}"


def _check_tcpmss(settings: Settings) -> None:
    span = settings.need("mss", Span)
    if span.low > span.high:
        raise RulesetError("tcpmss: invalid range given; the first number is above the last")


MATCHES = (
    Match(
        name="tcpmss",
        kernel="xt_tcpmss.c",
        duty="Compares the largest segment that the TCP header announces.",
        options=(
            Option(
                "mss",
                UnsignedRange(MSS_MAX),
                invertible=True,
                mandatory=True,
                help="A size, or a range with both ends included.",
                says="the MSS option {is} {value}",
            ),
        ),
        protocols=(IPPROTO_TCP,),
        check=_check_tcpmss,
        shares=always,
        build=TcpmssInfo,
        evaluate=tcpmss_mt,
        packets=own_answer,
        describe=describe_tcpmss,
    ),
)
