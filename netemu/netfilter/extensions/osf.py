"""Which system sent a SYN, by its habits: match `osf`.

Kernel: net/netfilter/xt_osf.c (xt_osf_match_packet), net/netfilter/nfnetlink_osf.c.

Differs from Linux: the fingerprints that nfnl_osf loads are no part of a ruleset and there are none
here, so no packet matches, inverted or not; that is what the kernel does without fingerprints. What
--log writes is not written.
"""

from __future__ import annotations

from netemu.netfilter.hook import Family, Hook
from netemu.netfilter.xtables.kinds import U32, Text
from netemu.netfilter.xtables.kit import Match, Option, always, nothing
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.space import own_answer
from netemu.skb import Skb

GENRE_ROOM = 31
"""MAXGENRELEN without the closing NUL."""


def osf_mt(info: None, skb: Skb, param: XtParam) -> bool:
    """Know no system."""
    return False


MATCHES = (
    Match(
        name="osf",
        kernel="xt_osf.c",
        duty="Guesses the sender's system from a SYN; here never, since there are no fingerprints.",
        options=(
            Option(
                "genre",
                Text(cut=GENRE_ROOM, raw=True),
                invertible=True,
                mandatory=True,
                help="Name of the system in the fingerprints.",
            ),
            Option(
                "ttl", U32(high=2), help="How TTLs are compared: 0 equal, 1 less, 2 not at all."
            ),
            Option(
                "log", U32(high=2), help="What would be logged: 0 all, 1 the first, 2 the known."
            ),
        ),
        hooks=(Hook.PREROUTING, Hook.INPUT, Hook.FORWARD),
        protocols=(6,),
        families=(Family.IPV4,),
        shares=always,
        build=nothing,
        evaluate=osf_mt,
        packets=own_answer,
    ),
)
