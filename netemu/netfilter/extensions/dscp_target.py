"""The TOS octet of IPv4, the traffic class of IPv6: targets `DSCP` and `TOS`.

Kernel: net/netfilter/xt_DSCP.c (dscp_tg, dscp_tg6, tos_tg, tos_tg6).

DSCP keeps the two ECN bits; TOS writes whatever its mask covers. In mangle OUTPUT a changed TOS
routes the packet anew.
"""

from __future__ import annotations

from netemu.errors import RulesetError
from netemu.netfilter.hook import Verdict
from netemu.netfilter.xtables.dsfield import DscpClass, HexOctet, TosValue
from netemu.netfilter.xtables.kinds import U8, Masked
from netemu.netfilter.xtables.kit import Option, Settings, Target, always
from netemu.netfilter.xtables.mangle import change_dsfield, get_dsfield
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.space import Field, Rewriting
from netemu.skb import Skb

ECN_BITS = 0x03
DSCP_SHIFT = 2
DSCP_MAX = 0x3F


def dscp_effect(dscp: int, packet: Rewriting) -> None:
    """Set the upper six bits."""
    packet.assign(Field.TOS, dscp << DSCP_SHIFT, 0xFF & ~ECN_BITS)


def tos_effect(info: Masked, packet: Rewriting) -> None:
    """Set the bits under the mask, turn over those of the value outside it."""
    packet.flip(Field.TOS, info.value & ~info.mask)
    packet.assign(Field.TOS, info.value & info.mask, info.mask)


def dscp_tg(dscp: int, skb: Skb, param: XtParam) -> Verdict | None:
    """Set the upper six bits."""
    if get_dsfield(skb, param.family) >> DSCP_SHIFT != dscp:
        change_dsfield(skb, param, ECN_BITS, dscp << DSCP_SHIFT)
    return None


def tos_tg(info: Masked, skb: Skb, param: XtParam) -> Verdict | None:
    """Clear the masked bits, then exclusive-or the value in."""
    before = get_dsfield(skb, param.family)
    after = before & ~info.mask ^ info.value
    if after != before:
        change_dsfield(skb, param, 0, after)
    return None


def _check_dscp(settings: Settings) -> None:
    if not settings.given:
        raise RulesetError(
            "DSCP target: Parameter --set-dscp is required; --set-dscp-class would do as well"
        )


def _check_tos(settings: Settings) -> None:
    if not settings.given:
        raise RulesetError(f"TOS: An action is required: --{', --'.join(_SPELLINGS)}")


_SPELLINGS = ("set-tos", "and-tos", "or-tos", "xor-tos")


def _others(name: str) -> tuple[str, ...]:
    return tuple(other for other in _SPELLINGS if other != name)


def _and(bits: int) -> Masked:
    return Masked(0, ~bits & 0xFF)


def _or(bits: int) -> Masked:
    return Masked(bits, bits)


def _xor(bits: int) -> Masked:
    return Masked(bits, 0)


TARGETS = (
    Target(
        name="DSCP",
        kernel="xt_DSCP.c",
        duty="Sets the six DSCP bits of the TOS octet or traffic class.",
        tables=("mangle",),
        options=(
            Option(
                "set-dscp",
                HexOctet(DSCP_MAX),
                excludes=("set-dscp-class",),
                help="The value, 0-63.",
            ),
            Option(
                "set-dscp-class",
                DscpClass(),
                into="set-dscp",
                excludes=("set-dscp",),
                help="A class of DiffServ: BE, EF, CS0-CS7, AF11-AF43.",
            ),
        ),
        check=_check_dscp,
        shares=always,
        build=lambda settings: settings.need("set-dscp", int),
        apply=dscp_tg,
        effect=dscp_effect,
    ),
    Target(
        name="TOS",
        kernel="xt_DSCP.c",
        duty="Sets or changes the TOS octet or traffic class.",
        tables=("mangle",),
        options=(
            Option(
                "set-tos",
                TosValue(0xFF),
                excludes=_others("set-tos"),
                help="Clears the bits of the mask, then exclusive-ors the value in.",
            ),
            Option(
                "and-tos",
                U8(),
                into="set-tos",
                convert=_and,
                excludes=_others("and-tos"),
                help="Keeps only these bits.",
            ),
            Option(
                "or-tos",
                U8(),
                into="set-tos",
                convert=_or,
                excludes=_others("or-tos"),
                help="Sets these bits.",
            ),
            Option(
                "xor-tos",
                U8(),
                into="set-tos",
                convert=_xor,
                excludes=_others("xor-tos"),
                help="Flips these bits.",
            ),
        ),
        check=_check_tos,
        shares=always,
        build=lambda settings: settings.need("set-tos", Masked),
        apply=tos_tg,
        effect=tos_effect,
    ),
)
