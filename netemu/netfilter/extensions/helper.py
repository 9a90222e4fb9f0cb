"""Which conntrack helper expected the connection: match `helper`.

Kernel: net/netfilter/xt_helper.c (helper_mt).

It is the master's helper that counts: the data connection of FTP matches `ftp`, its control
connection does not. A longer name is compared only as far as the helper's own name goes, so
`ftp-2121` is `ftp`.
"""

from __future__ import annotations

from netemu.net import Net
from netemu.netfilter.conntrack.connection import nf_ct_get
from netemu.netfilter.conntrack.core import nf_ct_netns_get
from netemu.netfilter.xtables.kinds import Text
from netemu.netfilter.xtables.kit import Match, Option, Settings, always
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.space import own_answer
from netemu.skb import Skb

NAME_ROOM = 29
"""Octets of struct xt_helper_info's name that libxtables fills."""


class Helper:
    """struct xt_helper_info."""

    __slots__ = ("invert", "name")

    def __init__(self, settings: Settings) -> None:
        """Take the one option apart."""
        self.name = settings.need("helper", str)
        self.invert = settings.inverted("helper")


def helper_mt(info: Helper, skb: Skb, param: XtParam) -> bool:
    """Compare the name of the master's helper."""
    name = _helper_of(skb)
    if not name:
        return info.invert
    return (not info.name or info.name.startswith(name)) != info.invert


def _helper_of(skb: Skb) -> str:
    connection, _ = nf_ct_get(skb)
    if connection is None or connection.master is None:
        return ""
    return connection.master.helper


def describe_helper(info: Helper, skb: Skb, param: XtParam) -> str:
    """Say the helper."""
    return f"helper {_helper_of(skb)}" if _helper_of(skb) else "no helper expected it"


def attach_helper(net: Net, info: Helper) -> None:
    """Begin to track connections (helper_mt_check)."""
    nf_ct_netns_get(net)


MATCHES = (
    Match(
        name="helper",
        kernel="xt_helper.c",
        duty="Compares the conntrack helper that expected the packet's connection.",
        options=(
            Option(
                "helper",
                Text(cut=NAME_ROOM),
                invertible=True,
                mandatory=True,
                help="Name of the helper; empty for any.",
            ),
        ),
        shares=always,
        build=Helper,
        evaluate=helper_mt,
        packets=own_answer,
        attach=attach_helper,
        describe=describe_helper,
    ),
)
