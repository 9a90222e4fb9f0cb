"""The bridge ports of a bridged packet: match `physdev`.

Kernel: net/netfilter/xt_physdev.c (physdev_mt, physdev_mt_check).

The port that a frame came in by is known from PREROUTING on; the port that it leaves by only in
FORWARD and POSTROUTING, and only for a frame that is bridged, not routed. A packet that never
crossed a bridge matches when every option used is inverted.
"""

from __future__ import annotations

from netemu.errors import RulesetError
from netemu.netfilter.hook import Hook
from netemu.netfilter.xtables.addresses import Interface
from netemu.netfilter.xtables.kit import Match, Option, Settings, always
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.space import PacketSpace
from netemu.skb import NfBridge, Skb


class Physdev:
    """struct xt_physdev_info; of each option None, or whether it is inverted."""

    __slots__ = ("in_name", "invert_in", "invert_out", "is_bridged", "is_in", "is_out", "out_name")

    def __init__(self, settings: Settings) -> None:
        """Take the options apart."""
        self.in_name = settings.get("physdev-in", str)
        self.invert_in = settings.inverted("physdev-in")
        self.out_name = settings.get("physdev-out", str)
        self.invert_out = settings.inverted("physdev-out")
        self.is_in = _flag(settings, "physdev-is-in")
        self.is_out = _flag(settings, "physdev-is-out")
        self.is_bridged = _flag(settings, "physdev-is-bridged")


def _flag(settings: Settings, name: str) -> bool | None:
    """Return what the flag must be, None when it is not asked for."""
    return not settings.inverted(name) if name in settings else None


def physdev_mt(info: Physdev, skb: Skb, param: XtParam) -> bool:
    """Compare the ports that br_netfilter noted."""
    bridge = skb.nf_bridge
    if bridge is None:
        return _all_inverted(info)
    in_name, out_name = _names(bridge)
    if info.is_bridged is not None and bool(out_name) != info.is_bridged:
        return False
    if info.is_in is not None and bool(in_name) != info.is_in:
        return False
    if info.is_out is not None and bool(out_name) != info.is_out:
        return False
    if info.in_name is not None and in_name:
        if ifname_matches(in_name, info.in_name) == info.invert_in:
            return False
    if info.out_name is None:
        return True
    # An unknown output port is no match, inverted or not; an unknown input port is passed over.
    return bool(out_name) and ifname_matches(out_name, info.out_name) != info.invert_out


def physdev_packets(info: Physdev, space: PacketSpace) -> int:
    """Return the packets that came by a bridge with such ports.

    The port in is the same for all rules; that out is known to some hooks only, so that each rule
    is told for itself.
    """
    bridged, without = space.fact("came by a bridge"), space.outside(space.both())
    found = bridged
    if info.is_in is not None:
        found = space.both(found, space.when(not info.is_in, space.fact("its port is known")))
    if info.in_name is not None:
        known = space.fact("its port is known")
        fits = space.fact(f"came by port {info.in_name}")
        found = space.both(
            found, space.either(space.outside(known), space.when(info.invert_in, fits))
        )
    if info.is_bridged is not None or info.is_out is not None:
        leaves = space.free("leaves by a port")
        for asked in (info.is_bridged, info.is_out):
            if asked is not None:
                found = space.both(found, space.when(not asked, leaves))
        if info.out_name is not None:
            found = space.both(found, leaves)
    if info.out_name is not None:
        found = space.both(found, space.free(space.text))
    other = space.outside(bridged) if _all_inverted(info) else without
    return space.either(found, other)


def _all_inverted(info: Physdev) -> bool:
    if info.in_name is not None and not info.invert_in:
        return False
    if info.out_name is not None and not info.invert_out:
        return False
    return not (info.is_in or info.is_out or info.is_bridged)


def _names(bridge: NfBridge) -> tuple[str, str]:
    return (
        bridge.physindev.name if bridge.physindev is not None else "",
        bridge.physoutdev.name if bridge.physoutdev is not None else "",
    )


def ifname_matches(name: str, wanted: str) -> bool:
    """Compare device names; a `+` at the end stands for anything (ifname_compare_aligned)."""
    return name.startswith(wanted[:-1]) if wanted.endswith("+") else name == wanted


def describe_physdev(info: Physdev, skb: Skb, param: XtParam) -> str:
    """Say the ports."""
    if skb.nf_bridge is None:
        return "not bridged"
    in_name, out_name = _names(skb.nf_bridge)
    return f"in port {in_name or 'unknown'}, out port {out_name or 'unknown'}"


def _check_physdev(settings: Settings) -> None:
    if not settings.given:
        raise RulesetError("PHYSDEV: no physdev option specified")


def _check_hooks(settings: Settings, hooks: frozenset[Hook]) -> None:
    """Refuse to ask for the output port where it is never known (physdev_mt_check)."""
    asks_out = "physdev-out" in settings or "physdev-is-out" in settings
    bridged = "physdev-is-bridged" in settings and not settings.inverted("physdev-is-bridged")
    if asks_out and not bridged and Hook.OUTPUT in hooks:
        raise RulesetError(
            "physdev: --physdev-out and --physdev-is-out only supported in the FORWARD and "
            "POSTROUTING chains with bridged traffic"
        )


MATCHES = (
    Match(
        name="physdev",
        kernel="xt_physdev.c",
        duty="Compares the bridge ports that a bridged packet came in by and leaves by.",
        options=(
            Option(
                "physdev-is-in",
                invertible=True,
                help="It came in by a bridge port.",
                says="a bridge port {is} where it came in",
            ),
            Option(
                "physdev-in",
                Interface(),
                invertible=True,
                help="The bridge port that it came in by.",
                says="the bridge port that it came in by {is} {value}",
            ),
            Option(
                "physdev-is-out",
                invertible=True,
                help="It leaves by a bridge port.",
                says="a bridge port {is} where it leaves",
            ),
            Option(
                "physdev-out",
                Interface(),
                invertible=True,
                help="The bridge port that it leaves by.",
                says="the bridge port that it leaves by {is} {value}",
            ),
            Option(
                "physdev-is-bridged",
                invertible=True,
                help="It is bridged, not routed.",
                says="it {is} bridged, rather than routed",
            ),
        ),
        check=_check_physdev,
        check_hooks=_check_hooks,
        shares=always,
        build=Physdev,
        evaluate=physdev_mt,
        packets=physdev_packets,
        describe=describe_physdev,
    ),
)
