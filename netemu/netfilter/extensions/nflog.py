"""Packets copied to programs that log: target `NFLOG`.

Kernel: net/netfilter/xt_NFLOG.c (nflog_tg), net/netfilter/nfnetlink_log.c.

Differs from Linux: no program listens on a netlink group, so nothing is copied; a trace tells what
a program would have got.
"""

from __future__ import annotations

from netemu.errors import RulesetError
from netemu.events import RecordSent
from netemu.netfilter.hook import Verdict
from netemu.netfilter.xtables.kinds import U16, U32, Text, octets_of, text_of
from netemu.netfilter.xtables.kit import Native, Option, Settings, Target, always
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.space import changes_nothing
from netemu.skb import Skb

PREFIX_LEN = 64
"""Octets of the prefix with its closing NUL."""

NFT_PREFIX_LEN = 128
"""NF_LOG_PREFIXLEN: what the log expression of nftables has room for."""


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
    given = settings.given.get("nflog-prefix")
    if given is None:
        return
    prefix = settings.need("nflog-prefix", str)
    if "\n" in prefix:
        raise RulesetError("Newlines not allowed in --nflog-prefix")
    room = NFT_PREFIX_LEN if settings.nft else PREFIX_LEN
    kept = text_of(octets_of(prefix)[: room - 1])
    settings.given["nflog-prefix"] = given._replace(value=kept)


def _read_back(settings: Settings, before: Settings | None) -> Settings:
    """Return what iptables-nft reads back of nftables' own log, which has no --nflog-range."""
    settings.given.pop("nflog-range", None)
    return settings


TARGETS = (
    Target(
        name="NFLOG",
        kernel="xt_NFLOG.c",
        duty="Copies the packet to the programs that listen on a netlink group, then goes on.",
        options=(
            Option(
                "nflog-prefix",
                Text(least=1),
                help="Goes along with the packet; cut to 63 octets (127 by iptables-nft).",
                says="with prefix {value}",
            ),
            Option(
                "nflog-group", U16(), silent=0, help="The netlink group.", says="to group {value}"
            ),
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
        nft=Native(_read_back),
        shares=always,
        build=NfLog,
        apply=nflog_tg,
        effect=changes_nothing,
        told=True,
    ),
)
