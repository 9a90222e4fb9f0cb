"""L4 checksums that the hardware would have filled in: target `CHECKSUM`.

Kernel: net/netfilter/xt_CHECKSUM.c (checksum_tg).

Only a partial checksum is filled in; one that was wrong on arrival stays wrong.
"""

from __future__ import annotations

from netemu.link.device import skb_checksum_help
from netemu.netfilter.hook import Verdict
from netemu.netfilter.xtables.kit import Option, Target, nothing
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.space import changes_nothing
from netemu.skb import Checksum, Skb


def checksum_tg(info: None, skb: Skb, param: XtParam) -> Verdict | None:
    """Complete a partial checksum."""
    if skb.ip_summed == Checksum.PARTIAL and not skb.gso:
        skb_checksum_help(skb)
    return None


TARGETS = (
    Target(
        name="CHECKSUM",
        kernel="xt_CHECKSUM.c",
        duty="Fills in the checksum of a packet whose sender left that to the hardware.",
        tables=("mangle",),
        options=(Option("checksum-fill", mandatory=True, help="Fills the checksum in."),),
        build=nothing,
        apply=checksum_tg,
        effect=changes_nothing,
    ),
)
