"""The TOS octet of IPv4, the traffic class of IPv6: matches `tos` and `dscp`.

Kernel: net/netfilter/xt_dscp.c (tos_mt, dscp_mt, dscp_mt6).
"""

from __future__ import annotations

from netemu.errors import RulesetError
from netemu.netfilter.xtables.dsfield import DscpClass, HexOctet, TosValue
from netemu.netfilter.xtables.kinds import Masked
from netemu.netfilter.xtables.kit import Match, Option, Settings, always
from netemu.netfilter.xtables.mangle import get_dsfield
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.space import Field, PacketSpace
from netemu.skb import Skb

DSCP_MAX = 0x3F
DSCP_SHIFT = 2


class TosInfo:
    """struct xt_tos_match_info, and struct xt_dscp_info as bits of the same octet."""

    __slots__ = ("invert", "mask", "value")

    def __init__(self, value: int, mask: int, *, invert: bool) -> None:
        """Keep what is compared."""
        self.value = value
        self.mask = mask
        self.invert = invert


def build_tos(settings: Settings) -> TosInfo:
    """Take the one option."""
    tos = settings.need("tos", Masked)
    return TosInfo(tos.value, tos.mask, invert=settings.inverted("tos"))


def build_dscp(settings: Settings) -> TosInfo:
    """Take the one option; its six bits are the upper ones."""
    value = settings.need("dscp", int) << DSCP_SHIFT
    return TosInfo(value, DSCP_MAX << DSCP_SHIFT, invert=settings.inverted("dscp"))


def tos_mt(info: TosInfo, skb: Skb, param: XtParam) -> bool:
    """Compare the octet under the mask."""
    return ((get_dsfield(skb, param.family) & info.mask) == info.value) != info.invert


def tos_packets(info: TosInfo, space: PacketSpace) -> int:
    """Return the packets whose octet fits."""
    return space.when(info.invert, space.masked(Field.TOS, info.value, info.mask))


def describe_tos(info: TosInfo, skb: Skb, param: XtParam) -> str:
    """Say the octet."""
    return f"tos 0x{get_dsfield(skb, param.family):02x}"


def describe_dscp(info: TosInfo, skb: Skb, param: XtParam) -> str:
    """Say the upper six bits."""
    return f"dscp 0x{get_dsfield(skb, param.family) >> DSCP_SHIFT:02x}"


def _check_dscp(settings: Settings) -> None:
    if not settings.given:
        raise RulesetError("DSCP match: Parameter --dscp is required; --dscp-class would do")


MATCHES = (
    Match(
        name="tos",
        kernel="xt_dscp.c",
        duty="Compares the TOS octet or traffic class.",
        options=(
            Option(
                "tos",
                TosValue(0xFF),
                invertible=True,
                mandatory=True,
                help="The octet under the mask must be this; a symbol has the mask 0x3f.",
                says="the TOS octet {is} {value}",
            ),
        ),
        shares=always,
        build=build_tos,
        evaluate=tos_mt,
        packets=tos_packets,
        describe=describe_tos,
    ),
    Match(
        name="dscp",
        kernel="xt_dscp.c",
        duty="Compares the six DSCP bits of the TOS octet or traffic class.",
        options=(
            Option(
                "dscp",
                HexOctet(DSCP_MAX),
                invertible=True,
                excludes=("dscp-class",),
                help="The value, 0-63.",
                says="the DSCP {is} {value}",
            ),
            Option(
                "dscp-class",
                DscpClass(),
                into="dscp",
                invertible=True,
                excludes=("dscp",),
                help="A class of DiffServ: BE, EF, CS0-CS7, AF11-AF43.",
            ),
        ),
        check=_check_dscp,
        shares=always,
        build=build_dscp,
        evaluate=tos_mt,
        packets=tos_packets,
        describe=describe_dscp,
    ),
)
