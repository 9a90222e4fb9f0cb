"""Packets copied to a program, the old way: target `ULOG`.

Kernel: none since 3.17; before, net/ipv4/netfilter/ipt_ULOG.c.

Differs from Linux in nothing: iptables 1.8.9 knows the options, and no kernel takes the rule.
"""

from __future__ import annotations

from typing import NoReturn

from netemu.errors import RulesetError
from netemu.netfilter.hook import Family, Verdict
from netemu.netfilter.xtables.kinds import U32, Text
from netemu.netfilter.xtables.kit import Option, Settings, Target, nothing
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.space import changes_nothing
from netemu.skb import Skb

MAX_GROUP = 32
MAX_THRESHOLD = 50
PREFIX_LEN = 31


def ulog_tg(info: None, skb: Skb, param: XtParam) -> Verdict | None:
    """No rule gets here: `_refuse` refuses every one."""
    return None


def _refuse(settings: Settings) -> NoReturn:
    raise RulesetError("ULOG: Linux has no such target since 3.17; NFLOG does the same")


TARGETS = (
    Target(
        name="ULOG",
        kernel="ipt_ULOG.c",
        duty="Was NFLOG's forerunner; kernels since 3.17 refuse it, and so does netemu.",
        families=(Family.IPV4,),
        options=(
            Option("ulog-nlgroup", U32(low=1, high=MAX_GROUP), help="The netlink group."),
            Option("ulog-prefix", Text(cut=PREFIX_LEN), help="Goes along with the packet."),
            Option("ulog-cprange", U32(), help="Octets of the packet to copy."),
            Option(
                "ulog-qthreshold",
                U32(low=1, high=MAX_THRESHOLD),
                help="Packets to collect before they are handed over.",
            ),
        ),
        check=_refuse,
        build=nothing,
        apply=ulog_tg,
        effect=changes_nothing,
        told=True,
    ),
)
