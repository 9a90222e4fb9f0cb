"""Packets handed to a program: target `NFQUEUE`.

Kernel: net/netfilter/xt_NFQUEUE.c (nfqueue_tg_v3, nfqueue_tg_check).

Differs from Linux: the program is a Python function (`Queues.listen`) that decides at once. Without
one the packet is dropped, as without a program on Linux; `--queue-bypass` accepts it instead.
`--queue-cpu-fanout` always finds CPU 0.
"""

from __future__ import annotations

from msgspec import Struct

from netemu.errors import RulesetError
from netemu.netfilter.hook import Verdict
from netemu.netfilter.xtables.kinds import U16, OptionCall, Span, UnsignedRange
from netemu.netfilter.xtables.kit import Option, Settings, Target, always
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.queues import Queues
from netemu.netfilter.xtables.space import changes_nothing
from netemu.skb import Skb

QUEUE_MAX = 0xFFFF


class QueueRange(UnsignedRange):
    """`first:last`, two queues at least (NFQUEUE_parse)."""

    def __init__(self) -> None:
        """Accept queue numbers."""
        super().__init__(QUEUE_MAX)

    def read(self, text: str, call: OptionCall) -> Span:
        """Read a range whose ends differ."""
        if ":" not in text:
            super().read(text, call)
            raise RulesetError(f'Bad range "{text}"; FIRST:LAST would do')
        span = super().read(text, call)
        if span.low >= span.high:
            raise RulesetError(f"{span.low} should be less than {span.high}")
        return span

    def show(self, value: Span) -> str:
        """Print both ends."""
        return f"{value.low}:{value.high}"


class NfQueue(Struct, frozen=True):
    """struct xt_NFQ_info_v3."""

    first: int
    total: int
    bypass: bool
    fanout: bool


def build_nfqueue(settings: Settings) -> NfQueue:
    """Take the options apart."""
    span = settings.get("queue-balance", Span)
    if span is None:
        number = settings.need("queue-num", int)
        span = Span(number, number)
    return NfQueue(
        span.low,
        span.high - span.low + 1,
        "queue-bypass" in settings,
        "queue-cpu-fanout" in settings,
    )


def nfqueue_tg(info: NfQueue, skb: Skb, param: XtParam) -> Verdict | None:
    """Choose the queue and ask who listens there."""
    queues = param.net.generic(Queues)
    number = info.first
    if info.total > 1 and not info.fanout:
        number = queues.balance(skb, param.family, info.first, info.total)
    return queues.decide(number, skb, bypass=info.bypass)


def _check_nfqueue(settings: Settings) -> None:
    """Without --queue-balance there is a queue number: 0."""
    span = settings.get("queue-balance", Span)
    if span is not None:
        if span.high - span.low == QUEUE_MAX:
            raise RulesetError("NFQUEUE: number of queues (65536) out of range, 65535 would do")
        del settings.given["queue-num"]


TARGETS = (
    Target(
        name="NFQUEUE",
        kernel="xt_NFQUEUE.c",
        duty="Lets a program decide about the packet; without one the packet is dropped.",
        options=(
            Option(
                "queue-num",
                U16(),
                default=0,
                excludes=("queue-balance",),
                help="Number of the queue.",
                says="to queue {value}",
            ),
            Option(
                "queue-balance",
                QueueRange(),
                excludes=("queue-num",),
                help="Spreads flows over queues FIRST to LAST.",
            ),
            Option("queue-bypass", help="Accepts the packet when no program listens."),
            Option(
                "queue-cpu-fanout",
                requires=("queue-balance",),
                help="Takes the queue of the CPU; netemu has CPU 0 only.",
            ),
        ),
        check=_check_nfqueue,
        shares=always,
        build=build_nfqueue,
        apply=nfqueue_tg,
        effect=changes_nothing,
        ends=Verdict.QUEUE,
    ),
)
