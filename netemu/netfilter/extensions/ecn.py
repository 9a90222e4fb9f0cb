"""Explicit congestion notification in IP and TCP: match `ecn`.

Kernel: net/netfilter/xt_ecn.c (ecn_mt4, ecn_mt6, match_tcp).

What lies where a TCP header would lie is read even in a later fragment, as the kernel does.
"""

from __future__ import annotations

from netemu.errors import RulesetError
from netemu.netfilter.xtables.kinds import U8
from netemu.netfilter.xtables.kit import Match, Option, Settings, always
from netemu.netfilter.xtables.mangle import get_dsfield
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.space import Field, PacketSpace
from netemu.skb import Skb
from netemu.wire.ipv4 import IPPROTO_TCP
from netemu.wire.tcp import MIN_HEADER_LEN

ECN_MASK = 0x03
"""Of the TOS octet (XT_ECN_IP_MASK)."""

TCP_BITS = {"ecn-tcp-ece": 0x40, "ecn-tcp-cwr": 0x80}
"""In octet 13 of the TCP header."""


class EcnInfo:
    """struct xt_ecn_info."""

    __slots__ = ("ect", "invert_ect", "tcp_mask", "tcp_set")

    def __init__(self, settings: Settings) -> None:
        """Take the options apart; a bit under a `!` must be clear."""
        self.ect = settings.get("ecn-ip-ect", int, -1)
        self.invert_ect = settings.inverted("ecn-ip-ect")
        used = [name for name in TCP_BITS if name in settings]
        self.tcp_mask = sum(TCP_BITS[name] for name in used)
        self.tcp_set = sum(TCP_BITS[name] for name in used if not settings.inverted(name))


def ecn_mt(info: EcnInfo, skb: Skb, param: XtParam) -> bool:
    """Compare the two bits of IP, then those of TCP."""
    if info.ect >= 0:
        if ((get_dsfield(skb, param.family) & ECN_MASK) == info.ect) == info.invert_ect:
            return False
    if not info.tcp_mask:
        return True
    if len(skb.data) < param.thoff + MIN_HEADER_LEN:
        return False
    return skb.data[param.thoff + 13] & info.tcp_mask == info.tcp_set


def ecn_packets(info: EcnInfo, space: PacketSpace) -> int:
    """Return the packets with such bits."""
    found = space.both()
    if info.ect >= 0:
        found = space.when(info.invert_ect, space.masked(Field.TOS, info.ect, ECN_MASK))
    if not info.tcp_mask:
        return found
    # What a later fragment has in this place is anything.
    flags = space.masked(Field.TCP_FLAGS, info.tcp_set, info.tcp_mask)
    later = space.both(space.masked(Field.FRAGMENT, 1), space.fact(space.text))
    first = space.both(space.masked(Field.FRAGMENT, 0), flags)
    return space.both(found, space.either(first, later))


def describe_ecn(info: EcnInfo, skb: Skb, param: XtParam) -> str:
    """Say the bits that the rule asks for."""
    text = f"ect {get_dsfield(skb, param.family) & ECN_MASK}"
    if not info.tcp_mask or len(skb.data) < param.thoff + MIN_HEADER_LEN:
        return text
    flags = skb.data[param.thoff + 13]
    return f"{text} ece {flags >> 6 & 1} cwr {flags >> 7}"


def _check_ecn(settings: Settings) -> None:
    if not settings.given:
        raise RulesetError(f"ECN match: some option required: --{', --'.join(_NAMES)}")
    if any(name in settings for name in TCP_BITS):
        if settings.protocol != IPPROTO_TCP or settings.protocol_inverted:
            raise RulesetError("ecn: --ecn-tcp-ece and --ecn-tcp-cwr need `-p tcp' before")


_NAMES = (*TCP_BITS, "ecn-ip-ect")

MATCHES = (
    Match(
        name="ecn",
        kernel="xt_ecn.c",
        duty="Looks at the congestion bits of the IP and TCP headers.",
        options=(
            Option("ecn-tcp-ece", invertible=True, help="TCP's ECE flag is set."),
            Option("ecn-tcp-cwr", invertible=True, help="TCP's CWR flag is set."),
            Option("ecn-ip-ect", U8(high=3), invertible=True, help="The two ECN bits of IP."),
        ),
        check=_check_ecn,
        shares=always,
        build=EcnInfo,
        evaluate=ecn_mt,
        packets=ecn_packets,
        describe=describe_ecn,
    ),
)
