"""The sender's MAC address: match `mac`.

Kernel: net/netfilter/xt_mac.c (mac_mt).

False, even inverted, for what came in without an Ethernet header: packets of the node itself and
those of the loopback device.
"""

from __future__ import annotations

from netemu.netfilter.hook import Hook
from netemu.netfilter.xtables.addresses import Mac
from netemu.netfilter.xtables.kit import Match, Option, Settings, always
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.space import same_for_all
from netemu.skb import ETH_HLEN, Skb
from netemu.wire.address import format_mac


class MacInfo:
    """struct xt_mac_info."""

    __slots__ = ("invert", "source")

    def __init__(self, settings: Settings) -> None:
        """Take the one option apart."""
        self.source = settings.need("mac-source", bytes)
        self.invert = settings.inverted("mac-source")


def mac_mt(info: MacInfo, skb: Skb, param: XtParam) -> bool:
    """Compare the source address of the Ethernet header."""
    device = skb.device
    if device is None or device.loopback or len(skb.mac_header) < ETH_HLEN:
        return False
    return (skb.mac_header[6:12] == info.source) != info.invert


def describe_mac(info: MacInfo, skb: Skb, param: XtParam) -> str:
    """Say the sender's address."""
    if len(skb.mac_header) < ETH_HLEN:
        return "no Ethernet header"
    return f"source {format_mac(skb.mac_header[6:12])}"


MATCHES = (
    Match(
        name="mac",
        kernel="xt_mac.c",
        duty="Compares the source address of the Ethernet header.",
        options=(
            Option(
                "mac-source",
                Mac(),
                invertible=True,
                mandatory=True,
                help="The sender's MAC address.",
                says="the sender's MAC address {is} {value}",
            ),
        ),
        hooks=(Hook.PREROUTING, Hook.INPUT, Hook.FORWARD),
        shares=always,
        build=MacInfo,
        evaluate=mac_mt,
        packets=same_for_all,
        describe=describe_mac,
    ),
)
