"""A word about the rule: match `comment`.

Kernel: net/netfilter/xt_comment.c (comment_mt).
"""

from __future__ import annotations

from netemu.netfilter.xtables.kinds import Text
from netemu.netfilter.xtables.kit import Match, Option, always, nothing
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.space import PacketSpace
from netemu.skb import Skb

MAX_COMMENT_LEN = 255
"""XT_MAX_COMMENT_LEN less its closing NUL; iptables cuts a longer one in silence."""


def comment_mt(info: None, skb: Skb, param: XtParam) -> bool:
    """Match everything."""
    return True


def comment_packets(info: None, space: PacketSpace) -> int:
    """Return all packets."""
    return space.both()


MATCHES = (
    Match(
        name="comment",
        kernel="xt_comment.c",
        duty="Carries a comment and matches everything.",
        options=(
            Option(
                "comment",
                Text(cut=MAX_COMMENT_LEN),
                mandatory=True,
                help="Up to 255 octets of text.",
                says="{value}",
            ),
        ),
        shares=always,
        build=nothing,
        evaluate=comment_mt,
        packets=comment_packets,
        passive=True,
    ),
)
