"""The verdicts that need no module: ACCEPT, DROP, QUEUE and RETURN.

Kernel: include/uapi/linux/netfilter/x_tables.h (XT_STANDARD_TARGET),
net/ipv4/netfilter/ip_tables.c.

The walk through a table knows them by `standard` and never calls `apply`. ACCEPT ends the table at
this hook, not the packet's way: later tables still see it.
"""

from __future__ import annotations

from netemu.netfilter.hook import Verdict
from netemu.netfilter.xtables.kit import Target, always, nothing
from netemu.netfilter.xtables.model import RETURN
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.space import changes_nothing
from netemu.skb import Skb


def _standard(name: str, verdict: Verdict, duty: str) -> Target[None]:
    def apply(info: None, skb: Skb, param: XtParam) -> Verdict | None:
        return verdict

    return Target(
        name=name,
        kernel="x_tables.c",
        duty=duty,
        shares=always,
        build=nothing,
        apply=apply,
        effect=changes_nothing,
        standard=verdict,
    )


TARGETS = (
    _standard("ACCEPT", Verdict.ACCEPT, "Lets the packet go on to the next table."),
    _standard("DROP", Verdict.DROP, "Ends the packet without a word to its sender."),
    _standard("QUEUE", Verdict.QUEUE, "Hands the packet to a program on netfilter queue 0."),
    _standard("RETURN", RETURN, "Goes back to the calling chain, or to the policy."),
)
