"""Groups of devices: match `devgroup`.

Kernel: net/netfilter/xt_devgroup.c (devgroup_mt, devgroup_mt_checkentry).

Differs from Linux: netemu's devices cannot be put into groups, so that all are in group 0, where
Linux has every device until `ip link set group` moves it.
"""

from __future__ import annotations

from netemu.errors import RulesetError
from netemu.netfilter.hook import Hook
from netemu.netfilter.xtables.kinds import Masked
from netemu.netfilter.xtables.kit import Match, Option, Settings, always
from netemu.netfilter.xtables.named import NamedMask
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.space import same_for_all
from netemu.skb import Skb

GROUPS = {"default": 0}
"""/etc/iproute2/group of Debian's iproute2 6.1."""

DEFAULT_GROUP = 0


class DevgroupInfo:
    """struct xt_devgroup_info: a mask and value of each side, and whether it is inverted."""

    __slots__ = ("tests",)

    def __init__(self, settings: Settings) -> None:
        """Take the options apart."""
        self.tests = [
            (settings.need(name, Masked), settings.inverted(name))
            for name in ("src-group", "dst-group")
            if name in settings
        ]


def devgroup_mt(info: DevgroupInfo, skb: Skb, param: XtParam) -> bool:
    """Compare the group of either device, which is 0."""
    return all(
        (not (group.value ^ DEFAULT_GROUP) & group.mask) != inverted
        for group, inverted in info.tests
    )


def describe_devgroup(info: DevgroupInfo, skb: Skb, param: XtParam) -> str:
    """Say the group."""
    return f"group {DEFAULT_GROUP}"


def _check_devgroup(settings: Settings) -> None:
    if not settings.given:
        raise RulesetError("devgroup match: You must specify either '--src-group' or '--dst-group'")


def _check_hooks(settings: Settings, hooks: frozenset[Hook]) -> None:
    """Refuse the group of a device that there cannot be (devgroup_mt_checkentry)."""
    if "src-group" in settings and hooks & {Hook.OUTPUT, Hook.POSTROUTING}:
        raise RulesetError("devgroup: --src-group is not valid in OUTPUT and POSTROUTING")
    if "dst-group" in settings and hooks & {Hook.PREROUTING, Hook.INPUT}:
        raise RulesetError("devgroup: --dst-group is not valid in PREROUTING and INPUT")


MATCHES = (
    Match(
        name="devgroup",
        kernel="xt_devgroup.c",
        duty="Compares the group of the input or output device, which is 0 in netemu.",
        options=(
            Option("src-group", NamedMask(GROUPS), invertible=True, help="Of the input device."),
            Option("dst-group", NamedMask(GROUPS), invertible=True, help="Of the output device."),
        ),
        check=_check_devgroup,
        check_hooks=_check_hooks,
        shares=always,
        build=DevgroupInfo,
        evaluate=devgroup_mt,
        packets=same_for_all,
        describe=describe_devgroup,
    ),
)
