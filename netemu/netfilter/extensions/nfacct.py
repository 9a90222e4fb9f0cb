"""Counters that rules share by name: match `nfacct`.

Kernel: net/netfilter/xt_nfacct.c (nfacct_mt), net/netfilter/nfnetlink_acct.c (nfnl_acct_update).

Differs from Linux: counters are no part of a ruleset, so one is made where a rule first names it
(the kernel refuses a rule whose counter `nfacct add` did not make before), and none has a quota, so
the match always holds.
"""

from __future__ import annotations

from netemu.net import Net
from netemu.netfilter.conntrack.connection import Counter
from netemu.netfilter.xtables.kinds import Text
from netemu.netfilter.xtables.kit import Match, Option, Settings, always
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.space import PacketSpace
from netemu.skb import Skb

NAME_ROOM = 31
"""NFACCT_NAME_MAX without the closing NUL."""


class Accounts:
    """The counters of one namespace (struct nfnl_acct_net)."""

    __slots__ = ("by_name",)

    def __init__(self, net: Net) -> None:
        """Start without any; found by `net.generic(Accounts)`."""
        del net
        self.by_name: dict[str, Counter] = {}

    def text(self) -> str:
        """Return the counters as `nfacct list` prints them."""
        return "".join(
            f"{{ pkts = {counter.packets:020d}, bytes = {counter.octets:020d} }} = {name};\n"
            for name, counter in self.by_name.items()
        )


class Nfacct:
    """struct xt_nfacct_match_info_v1."""

    __slots__ = ("name",)

    def __init__(self, settings: Settings) -> None:
        """Take the one option apart."""
        self.name = settings.need("nfacct-name", str)


def nfacct_mt(info: Nfacct, skb: Skb, param: XtParam) -> bool:
    """Count the packet."""
    counter = param.net.generic(Accounts).by_name[info.name]
    counter.packets += 1
    counter.octets += len(skb.data)
    return True


def nfacct_packets(info: Nfacct, space: PacketSpace) -> int:
    """Return all packets: a counter without a quota always holds."""
    return space.both()


def attach_nfacct(net: Net, info: Nfacct) -> None:
    """Find the counter, or make it (nfacct_mt_checkentry)."""
    net.generic(Accounts).by_name.setdefault(info.name, Counter())


class AccountName(Text):
    """A counter's name, printed with one more blank before it (nfacct_print_name)."""

    def show(self, value: str) -> str:
        """Print with quotes where iptables-save puts them."""
        return f" {super().show(value)}"


MATCHES = (
    Match(
        name="nfacct",
        kernel="xt_nfacct.c",
        duty="Counts the packet under a name; always matches, since no counter here has a quota.",
        options=(
            Option(
                "nfacct-name",
                AccountName(least=1, cut=NAME_ROOM),
                mandatory=True,
                help="The counter; it is made where a rule names it.",
            ),
        ),
        shares=always,
        build=Nfacct,
        evaluate=nfacct_mt,
        packets=nfacct_packets,
        attach=attach_nfacct,
    ),
)
