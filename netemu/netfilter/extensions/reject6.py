"""Refuse an IPv6 packet and say so to its sender: target `REJECT` of ip6tables.

Kernel: net/ipv6/netfilter/ip6t_REJECT.c (reject_tg6, reject_tg6_check).

Differs from Linux: netemu does not walk IPv6 packets yet, so nothing is answered.
"""

from __future__ import annotations

from netemu.errors import RulesetError
from netemu.netfilter.extensions.reject import TCP_RESET
from netemu.netfilter.hook import Family, Hook, Verdict
from netemu.netfilter.xtables.abbreviated import find_abbreviated
from netemu.netfilter.xtables.kinds import Kind, OptionCall
from netemu.netfilter.xtables.kit import Option, Settings, Target, always
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.space import changes_nothing
from netemu.skb import Skb
from netemu.wire.ipv4 import IPPROTO_TCP

ALIASES = {
    "icmp6-no-route": "no-route",
    "icmp6-adm-prohibited": "adm-prohibited",
    "icmp6-addr-unreachable": "addr-unreach",
    "icmp6-port-unreachable": "port-unreach",
    TCP_RESET: TCP_RESET,
    "icmp6-policy-fail": "policy-fail",
    "icmp6-reject-route": "reject-route",
}
"""Short names, in the order of libip6t_REJECT's table; either may be cut short."""

DEFAULT_TYPE = "icmp6-port-unreachable"


class RejectType(Kind[str]):
    """One of the kinds of refusal, by name or short name, in any case."""

    form = "TYPE"
    terminal = "TEXT"
    may_be_empty = True

    def read(self, text: str, call: OptionCall) -> str:
        """Return the long name of the first that fits."""
        for name, alias in ALIASES.items():
            if find_abbreviated(text, (name, alias)) is not None:
                return name
        raise RulesetError(f'unknown reject type "{text}"; it takes {", ".join(ALIASES)}')

    def show(self, value: str) -> str:
        """Print the long name."""
        return value


def reject_tg6(kind: str, skb: Skb, param: XtParam) -> Verdict | None:
    """Drop."""
    skb.fate.reject_type = skb.fate.reject_type or kind
    return Verdict.DROP


def _check_reject(settings: Settings) -> None:
    """Test what reject_tg6_check tests."""
    if settings.need("reject-with", str) != TCP_RESET:
        return
    if settings.protocol != IPPROTO_TCP or settings.protocol_inverted:
        raise RulesetError("REJECT: TCP_RESET invalid for non-tcp; the rule needs -p tcp")


TARGETS = (
    Target(
        name="REJECT",
        kernel="ip6t_REJECT.c",
        duty="Drops the packet and tells its sender.",
        tables=("filter",),
        hooks=(Hook.INPUT, Hook.FORWARD, Hook.OUTPUT),
        families=(Family.IPV6,),
        options=(
            Option(
                "reject-with",
                RejectType(),
                default=DEFAULT_TYPE,
                help="The ICMPv6 error that its sender gets, or a TCP RST.",
                says="with {value}",
            ),
        ),
        check=_check_reject,
        shares=always,
        build=lambda settings: settings.need("reject-with", str),
        apply=reject_tg6,
        effect=changes_nothing,
        ends=Verdict.DROP,
    ),
)
