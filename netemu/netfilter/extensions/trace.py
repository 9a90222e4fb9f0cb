"""Follow a packet through all rules that match it: target `TRACE`.

Kernel: net/netfilter/xt_TRACE.c (trace_tg); the lines are written by trace_packet.
"""

from __future__ import annotations

from netemu.netfilter.hook import Verdict
from netemu.netfilter.xtables.kit import Native, Target, nothing
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.space import changes_nothing
from netemu.skb import Skb


def trace_tg(info: None, skb: Skb, param: XtParam) -> Verdict | None:
    """Mark the packet; from the next rule on every match writes a line."""
    skb.nf_trace = True
    return None


TARGETS = (
    Target(
        name="TRACE",
        kernel="xt_TRACE.c",
        duty="Logs every rule that matches the packet from here on.",
        tables=("raw",),
        nft=Native(lambda settings, _: settings),
        build=nothing,
        apply=trace_tg,
        effect=changes_nothing,
    ),
)
