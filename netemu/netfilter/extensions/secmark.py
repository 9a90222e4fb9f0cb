"""Security contexts on packets and connections: targets `SECMARK` and `CONNSECMARK`.

Kernel: net/netfilter/xt_SECMARK.c (secmark_tg), net/netfilter/xt_CONNSECMARK.c (connsecmark_tg).

Differs from Linux: contexts are carried as they are written. No security module checks them or
decides by them, and any context is taken, while a kernel without SELinux refuses SECMARK.
"""

from __future__ import annotations

from netemu.errors import RulesetError
from netemu.net import Net
from netemu.netfilter.conntrack.connection import nf_ct_get
from netemu.netfilter.conntrack.core import nf_ct_netns_get
from netemu.netfilter.hook import Verdict
from netemu.netfilter.xtables.kinds import Text
from netemu.netfilter.xtables.kit import Option, Settings, Target, always
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.space import changes_nothing
from netemu.skb import Skb

TABLES = ("mangle", "security")
CONTEXT_LEN = 255
"""SECMARK_SECCTX_MAX less the closing NUL."""


def secmark_tg(context: str, skb: Skb, param: XtParam) -> Verdict | None:
    """Give the packet a context."""
    skb.secmark = context
    return None


def connsecmark_tg(save: bool, skb: Skb, param: XtParam) -> Verdict | None:  # noqa: FBT001 - targinfo
    """Copy the context to a connection without one, or to a packet without one."""
    connection, _ = nf_ct_get(skb)
    if connection is None:
        return None
    if save:
        connection.secmark = connection.secmark or skb.secmark
    else:
        skb.secmark = skb.secmark or connection.secmark
    return None


def attach_connsecmark(net: Net, save: bool) -> None:  # noqa: FBT001 - targinfo
    """Begin to track connections (connsecmark_tg_check)."""
    nf_ct_netns_get(net)


def _check_connsecmark(settings: Settings) -> None:
    if not settings.given:
        raise RulesetError("CONNSECMARK target: parameter required: --save or --restore")


def _check_secmark(settings: Settings) -> None:
    if not settings.need("selctx", str):
        raise RulesetError("SECMARK: no security module knows an empty context")


TARGETS = (
    Target(
        name="CONNSECMARK",
        kernel="xt_CONNSECMARK.c",
        duty="Copies the security context between packet and connection.",
        tables=TABLES,
        options=(
            Option("save", excludes=("restore",), help="From the packet to the connection."),
            Option("restore", excludes=("save",), help="From the connection to the packet."),
        ),
        check=_check_connsecmark,
        shares=always,
        build=lambda settings: "save" in settings,
        apply=connsecmark_tg,
        effect=changes_nothing,
        attach=attach_connsecmark,
    ),
    Target(
        name="SECMARK",
        kernel="xt_SECMARK.c",
        duty="Gives the packet a security context.",
        tables=TABLES,
        options=(
            Option(
                "selctx",
                Text(cut=CONTEXT_LEN, raw=True),
                mandatory=True,
                help="The context, such as system_u:object_r:httpd_packet_t:s0.",
            ),
        ),
        check=_check_secmark,
        shares=always,
        build=lambda settings: settings.need("selctx", str),
        apply=secmark_tg,
        effect=changes_nothing,
    ),
)
