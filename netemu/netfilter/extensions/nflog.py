"""Packets copied to programs that log: target `NFLOG`.

Kernel: net/netfilter/xt_NFLOG.c (nflog_tg), net/netfilter/nfnetlink_log.c.

Differs from Linux: no program listens on a netlink group, so nothing is copied; a trace tells what
a program would have got.
"""

from __future__ import annotations

from netemu.errors import RulesetError
from netemu.events import RecordSent
from netemu.netfilter.hook import Verdict
from netemu.netfilter.xtables.kinds import U16, U32, Text
from netemu.netfilter.xtables.kit import Option, Settings, Target, always
from netemu.netfilter.xtables.param import XtParam
from netemu.skb import Skb

PREFIX_LEN = 64
"""Octets of the prefix with its closing NUL."""


class NfLog:
    """struct xt_nflog_info, as far as a trace shows it."""

    __slots__ = ("group", "prefix")

    def __init__(self, settings: Settings) -> None:
        """Take the options apart."""
        self.group = settings.get("nflog-group", int, 0)
        self.prefix = settings.get("nflog-prefix", str, "")


def nflog_tg(info: NfLog, skb: Skb, param: XtParam) -> Verdict | None:
    """Tell and go on."""
    if param.net.sink is not None:
        param.net.tell(skb, RecordSent(to=f"nflog group {info.group}", text=info.prefix))
    return None


def _check_nflog(settings: Settings) -> None:
    if "\n" in settings.get("nflog-prefix", str, ""):
        raise RulesetError("Newlines not allowed in --nflog-prefix")


TARGETS = (
    Target(
        name="NFLOG",
        kernel="xt_NFLOG.c",
        duty="Copies the packet to the programs that listen on a netlink group, then goes on.",
        options=(
            Option(
                "nflog-prefix",
                Text(least=1, cut=PREFIX_LEN - 1),
                help="Goes along with the packet; cut to 63 octets.",
            ),
            Option("nflog-group", U16(), silent=0, help="The netlink group."),
            Option(
                "nflog-range",
                U32(),
                silent=0,
                excludes=("nflog-size",),
                help="Has never had an effect; --nflog-size does what it says.",
            ),
            Option(
                "nflog-size",
                U32(),
                excludes=("nflog-range",),
                help="Octets of the packet to copy.",
            ),
            Option(
                "nflog-threshold",
                U16(),
                silent=0,
                help="Packets to collect before they are handed over.",
            ),
        ),
        check=_check_nflog,
        shares=always,
        build=NfLog,
        apply=nflog_tg,
    ),
)
