"""So many octets in all: match `quota`.

Kernel: net/netfilter/xt_quota.c (quota_mt).

The first packet that does not fit empties what is left, so that no smaller one matches later. The
saved text keeps the number that was given; every load starts anew.
"""

from __future__ import annotations

from netemu.netfilter.xtables.kinds import U64
from netemu.netfilter.xtables.kit import Match, Option, Settings
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.space import own_answer
from netemu.skb import Skb


class Quota:
    """struct xt_quota_info with its private part."""

    __slots__ = ("invert", "left")

    def __init__(self, settings: Settings) -> None:
        """Start with the whole quota."""
        self.left = settings.need("quota", int)
        self.invert = settings.inverted("quota")


def quota_mt(info: Quota, skb: Skb, param: XtParam) -> bool:
    """Take the packet's octets from what is left."""
    length = len(skb.data)
    if info.left >= length:
        info.left -= length
        return not info.invert
    info.left = 0
    return info.invert


def describe_quota(info: Quota, skb: Skb, param: XtParam) -> str:
    """Say what is left."""
    return f"{info.left} octets left"


MATCHES = (
    Match(
        name="quota",
        kernel="xt_quota.c",
        duty="Matches until so many octets have passed.",
        options=(
            Option("quota", U64(), invertible=True, mandatory=True, help="Octets of IP packets."),
        ),
        build=Quota,
        evaluate=quota_mt,
        packets=own_answer,
        describe=describe_quota,
    ),
)
