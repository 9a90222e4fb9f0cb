"""The realm of the packet's route: match `realm`.

Kernel: net/netfilter/xt_realm.c (realm_mt).

Differs from Linux: netemu's routes carry no realms, so that every packet is of realm 0 (cosmos).
"""

from __future__ import annotations

from netemu.netfilter.hook import Family, Hook
from netemu.netfilter.xtables.kinds import Masked
from netemu.netfilter.xtables.kit import Match, Option, Settings, always
from netemu.netfilter.xtables.named import NamedMask
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.space import own_answer
from netemu.skb import Skb

REALMS = {"cosmos": 0}
"""/etc/iproute2/rt_realms of Debian's iproute2 6.1."""

NO_REALM = 0


class RealmInfo:
    """struct xt_realm_info."""

    __slots__ = ("id", "invert", "mask")

    def __init__(self, settings: Settings) -> None:
        """Take the one option apart."""
        realm = settings.need("realm", Masked)
        self.id = realm.value
        self.mask = realm.mask
        self.invert = settings.inverted("realm")


def realm_mt(info: RealmInfo, skb: Skb, param: XtParam) -> bool:
    """Compare the realm of every route, which is 0."""
    return ((NO_REALM & info.mask) == info.id) != info.invert


def describe_realm(info: RealmInfo, skb: Skb, param: XtParam) -> str:
    """Say the realm."""
    return f"realm {NO_REALM}"


MATCHES = (
    Match(
        name="realm",
        kernel="xt_realm.c",
        duty="Compares the realm of the packet's route, which is 0 for every route in netemu.",
        options=(
            Option(
                "realm",
                NamedMask(REALMS),
                invertible=True,
                mandatory=True,
                help="A number with or without mask, or the name cosmos.",
            ),
        ),
        hooks=(Hook.INPUT, Hook.FORWARD, Hook.OUTPUT, Hook.POSTROUTING),
        families=(Family.IPV4,),
        shares=always,
        build=RealmInfo,
        evaluate=realm_mt,
        packets=own_answer,
        describe=describe_realm,
    ),
)
