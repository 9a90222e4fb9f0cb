"""Hooks, verdicts and priorities, and the ordered list of functions at each hook.

Kernel: net/netfilter/core.c, include/uapi/linux/netfilter.h, include/uapi/linux/netfilter_ipv4.h.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum

from msgspec import Struct

from netemu.skb import Device, Skb


class Family(IntEnum):
    """NFPROTO_*."""

    UNSPEC = 0
    IPV4 = 2
    ARP = 3
    BRIDGE = 7
    IPV6 = 10


class Hook(IntEnum):
    """NF_INET_*; the bridge family uses the same numbers."""

    PREROUTING = 0
    INPUT = 1
    FORWARD = 2
    OUTPUT = 3
    POSTROUTING = 4


class Verdict(IntEnum):
    """What a hook function says."""

    DROP = 0
    ACCEPT = 1
    STOLEN = 2
    QUEUE = 3
    REPEAT = 4


class Priority(IntEnum):
    """NF_IP_PRI_*; lower runs earlier."""

    FIRST = -(1 << 31)
    RAW_BEFORE_DEFRAG = -450
    CONNTRACK_DEFRAG = -400
    RAW = -300
    CONNTRACK = -200
    MANGLE = -150
    NAT_DST = -100
    FILTER = 0
    SECURITY = 50
    NAT_SRC = 100
    LAST = (1 << 31) - 1


class HookState(Struct, kw_only=True):
    """Where a packet stands (struct nf_hook_state)."""

    family: Family
    hook: Hook
    in_device: Device | None
    out_device: Device | None
    okfn: Callable[[Skb], object]


HookFunction = Callable[[Skb, HookState], Verdict]


class HookTable:
    """The hook functions of one namespace, in the order in which they run."""

    __slots__ = ("_entries",)

    def __init__(self) -> None:
        """Start without any function."""
        self._entries: dict[tuple[Family, Hook], list[tuple[int, HookFunction]]] = {}

    def register(self, family: Family, hook: Hook, priority: int, function: HookFunction) -> None:
        """Add a function; of equal priorities the later one runs first (nf_hook_entries_grow)."""
        entries = self._entries.setdefault((family, hook), [])
        position = 0
        while position < len(entries) and priority > entries[position][0]:
            position += 1
        entries.insert(position, (priority, function))

    def unregister(self, family: Family, hook: Hook, function: HookFunction) -> None:
        """Take a function away, the very object that was added."""
        entries = self._entries[(family, hook)]
        entries[:] = [entry for entry in entries if entry[1] is not function]

    def functions(self, family: Family, hook: Hook) -> list[tuple[int, HookFunction]]:
        """Return (priority, function) pairs in running order; empty when nothing is registered."""
        return self._entries.get((family, hook), _NONE)


_NONE: list[tuple[int, HookFunction]] = []


class WaitingHookTable(HookTable):
    """Hook functions of a namespace whose rules are loaded when an IPv4 packet first comes by."""

    __slots__ = ("_fill",)

    def __init__(self, fill: Callable[[], None]) -> None:
        """Call `fill`, which registers what is missing, before the first packet passes."""
        super().__init__()
        self._fill: Callable[[], None] | None = fill

    def functions(self, family: Family, hook: Hook) -> list[tuple[int, HookFunction]]:
        """Return (priority, function) pairs in running order."""
        if self._fill is not None and family == Family.IPV4:
            fill, self._fill = self._fill, None
            fill()
        return super().functions(family, hook)
