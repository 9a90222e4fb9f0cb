"""Which control group the sending program is in: match `cgroup`.

Kernel: net/netfilter/xt_cgroup.c (cgroup_mt_v2, cgroup_mt_check_v2).

A packet without a local socket never matches, inverted or not.

Differs from Linux: programs are not emulated, so every socket is in the root group with class id 0;
and a path is taken as it is written, where the kernel refuses one that does not exist.
"""

from __future__ import annotations

from netemu.errors import RulesetError
from netemu.netfilter.hook import Hook
from netemu.netfilter.xtables.kinds import U32, Text
from netemu.netfilter.xtables.kit import Match, Option, Settings, always
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.space import same_for_all
from netemu.skb import Skb

PATH_ROOM = 511
"""XT_CGROUP_PATH_MAX without the closing NUL."""


class CgroupPath(Text):
    """A path; it is printed in quotes."""

    def __init__(self) -> None:
        """Cut to the room that there is."""
        super().__init__(cut=PATH_ROOM)

    def show(self, value: str) -> str:
        """Print in quotes whatever it is."""
        return (
            '"' + "".join(f"\\{c}" if c in "\"\\'" else c for c in value) + '"' if value else '""'
        )


class Cgroup:
    """struct xt_cgroup_info_v2."""

    __slots__ = ("invert", "matches")

    def __init__(self, settings: Settings) -> None:
        """Take the one option apart."""
        path = settings.get("path", str)
        name = "cgroup" if path is None else "path"
        self.invert = settings.inverted(name)
        self.matches = not settings.get("cgroup", int, 0) if path is None else not path.strip("/")
        """Whether a socket of the root group is in it."""


def cgroup_mt(info: Cgroup, skb: Skb, param: XtParam) -> bool:
    """Compare the group of the socket."""
    return skb.sk is not None and info.matches != info.invert


def describe_cgroup(info: Cgroup, skb: Skb, param: XtParam) -> str:
    """Say whose packet it is."""
    return "no socket" if skb.sk is None else "a socket of the root group"


def _check_cgroup(settings: Settings) -> None:
    if ("path" in settings) == ("cgroup" in settings):
        raise RulesetError("cgroup: the kernel wants one of --path and --cgroup")


MATCHES = (
    Match(
        name="cgroup",
        kernel="xt_cgroup.c",
        duty="Compares the control group of the sending program; here it is always the root group.",
        options=(
            Option("path", CgroupPath(), invertible=True, help="Path in the cgroup2 tree."),
            Option("cgroup", U32(), invertible=True, help="Class id of net_cls."),
        ),
        hooks=(Hook.INPUT, Hook.OUTPUT, Hook.POSTROUTING),
        check=_check_cgroup,
        shares=always,
        build=Cgroup,
        evaluate=cgroup_mt,
        packets=same_for_all,
        describe=describe_cgroup,
    ),
)
