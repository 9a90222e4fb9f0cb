"""Refuse a packet and say so to its sender: target `REJECT`.

Kernel: net/ipv4/netfilter/ipt_REJECT.c (reject_tg), net/ipv4/netfilter/nf_reject_ipv4.c.

The packet itself is dropped in any case. No answer goes to a fragment other than the first, to a
packet with a wrong checksum, to a RST or an ICMP error, or to what was broadcast.
"""

from __future__ import annotations

from msgspec import Struct

from netemu.errors import RulesetError
from netemu.ip.reject import nf_send_reset, nf_send_unreach
from netemu.netfilter.hook import Family, Hook, Verdict
from netemu.netfilter.xtables.abbreviated import find_abbreviated
from netemu.netfilter.xtables.kinds import Kind, OptionCall
from netemu.netfilter.xtables.kit import Option, Settings, Target, always
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.space import changes_nothing
from netemu.skb import Skb
from netemu.wire.ipv4 import IPPROTO_TCP

TCP_RESET = "tcp-reset"

CODES = {
    "icmp-net-unreachable": 0,
    "icmp-host-unreachable": 1,
    "icmp-proto-unreachable": 2,
    "icmp-port-unreachable": 3,
    "icmp-net-prohibited": 9,
    "icmp-host-prohibited": 10,
    "icmp-admin-prohibited": 13,
}
"""Codes of ICMP type 3, destination unreachable (RFC 792, 1122, 1812)."""

ALIASES = {
    "icmp-net-unreachable": "net-unreach",
    "icmp-host-unreachable": "host-unreach",
    "icmp-proto-unreachable": "proto-unreach",
    "icmp-port-unreachable": "port-unreach",
    "icmp-net-prohibited": "net-prohib",
    "icmp-host-prohibited": "host-prohib",
    TCP_RESET: "tcp-rst",
    "icmp-admin-prohibited": "admin-prohib",
}
"""Short names, in the order of libipt_REJECT's table; either may be cut short."""

DEFAULT_TYPE = "icmp-port-unreachable"


class RejectType(Kind[str]):
    """One of the kinds of refusal, by name or short name, in any case."""

    form = "TYPE"
    terminal = "TEXT"
    may_be_empty = True

    def read(self, text: str, call: OptionCall) -> str:
        """Return the long name."""
        for name, alias in ALIASES.items():
            if find_abbreviated(text, (name, alias)) is not None:
                return name
        if find_abbreviated(text, ("echo-reply", "echoreply")) is not None:
            raise RulesetError("--reject-with echo-reply no longer supported")
        raise RulesetError(f'unknown reject type "{text}"; it takes {", ".join(ALIASES)}')

    def show(self, value: str) -> str:
        """Print the long name."""
        return value


class Reject(Struct, frozen=True):
    """struct ipt_reject_info."""

    kind: str
    code: int
    """ICMP code; of no meaning for tcp-reset."""


def build_reject(settings: Settings) -> Reject:
    """Take the one option."""
    kind = settings.need("reject-with", str)
    return Reject(kind, CODES.get(kind, 0))


def reject_tg(info: Reject, skb: Skb, param: XtParam) -> Verdict | None:
    """Answer and drop."""
    skb.fate.reject_type = skb.fate.reject_type or info.kind
    if info.kind == TCP_RESET:
        nf_send_reset(param.net, skb, param.hook)
    else:
        nf_send_unreach(param.net, skb, info.code, param.hook)
    return Verdict.DROP


def _check_reject(settings: Settings) -> None:
    """Test what reject_tg_check tests."""
    if settings.need("reject-with", str) != TCP_RESET:
        return
    if settings.protocol != IPPROTO_TCP or settings.protocol_inverted:
        raise RulesetError("REJECT: TCP_RESET invalid for non-tcp; the rule needs -p tcp")


TARGETS = (
    Target(
        name="REJECT",
        kernel="ipt_REJECT.c",
        duty="Drops the packet and tells its sender.",
        tables=("filter",),
        hooks=(Hook.INPUT, Hook.FORWARD, Hook.OUTPUT),
        families=(Family.IPV4,),
        options=(
            Option(
                "reject-with",
                RejectType(),
                default=DEFAULT_TYPE,
                help="The ICMP error that its sender gets, or a TCP RST.",
                says="with {value}",
            ),
        ),
        check=_check_reject,
        shares=always,
        build=build_reject,
        apply=reject_tg,
        effect=changes_nothing,
        ends=Verdict.DROP,
    ),
)
