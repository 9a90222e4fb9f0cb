"""One network namespace as the layers see it, and the way a packet takes through a hook.

Kernel: include/net/net_namespace.h (struct net), include/net/netns/generic.h (net_generic),
net/netfilter/core.c (nf_hook_slow), net/core/skbuff.c (kfree_skb_reason).

Theory of operation: `Net` holds what every layer shares (clock, entropy, sysctls, hooks, devices,
sink, kernel log). A layer keeps its own per-namespace state in a class whose constructor takes the
`Net`, and finds it with `net.generic(Fib)`: one instance per namespace, made on first use, as
net_generic does. So lower floors never name higher ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

from netemu.clock import Clock
from netemu.entropy import Entropy
from netemu.events import (
    Event,
    HookEntered,
    KernelLogged,
    PacketDelivered,
    PacketDropped,
    PacketMade,
    Sink,
    Stamp,
)
from netemu.netfilter.hook import Family, Hook, HookState, HookTable, Verdict
from netemu.skb import Device, Fate, SentFrame, Skb
from netemu.sysctl import Sysctl

State = TypeVar("State")

PacketHandler = Callable[[Skb], None]


class PacketIds:
    """Numbers packets from 1 across all namespaces of a run."""

    __slots__ = ("last",)

    def __init__(self) -> None:
        """Start before 1."""
        self.last = 0

    def next(self) -> int:
        """Return a fresh number."""
        self.last += 1
        return self.last


class Net:
    """A network namespace (struct net)."""

    __slots__ = (
        "_generic",
        "clock",
        "devices",
        "entropy",
        "hook_name",
        "hooks",
        "kernel",
        "log",
        "name",
        "nf_ct_attach",
        "nf_ct_confirm",
        "nf_ct_set_closing",
        "nf_log_packet",
        "packet_handlers",
        "packet_ids",
        "sink",
        "sysctl",
    )

    def __init__(  # noqa: PLR0913 - what a run shares between namespaces comes from outside
        self,
        *,
        name: str = "",
        clock: Clock | None = None,
        entropy: Entropy | None = None,
        sysctl: Sysctl | None = None,
        packet_ids: PacketIds | None = None,
        kernel: str = "6.18",
        log: list[str] | None = None,
    ) -> None:
        """Make an empty namespace; `name` is empty for a node's main one."""
        self.name = name
        self.clock = clock or Clock()
        self.entropy = entropy or Entropy(0, name)
        self.sysctl = sysctl or Sysctl()
        self.packet_ids = packet_ids or PacketIds()
        self.kernel = kernel
        """Kernel profile: "6.18" or "6.1"."""
        self.log: list[str] = log if log is not None else []
        """Kernel log lines, in order; namespaces of a run share the list."""
        self.hooks = HookTable()
        self.devices: dict[str, Device] = {}
        """By name, in order of ifindex."""
        self.packet_handlers: dict[int, PacketHandler] = {}
        """ethertype -> receiver (dev_add_pack)."""
        self.nf_ct_attach: Callable[[Skb, Skb], None] | None = None
        """Attaches the conntrack of the second skb to the first (nf_ct_hook->attach)."""
        self.nf_ct_confirm: Callable[[Skb], Verdict] | None = None
        """Puts a new connection into the table (nf_ct_hook->confirm)."""
        self.nf_log_packet: Callable[[Skb, HookState, str], None] | None = None
        """Logs a packet at level 4 behind a prefix, as LOG does (nf_log_syslog, once bound)."""
        self.nf_ct_set_closing: Callable[[Skb], None] | None = None
        """Closes the TCP connection of an skb that a RST answers (nf_ct_hook->set_closing)."""
        self.sink: Sink | None = None
        self.hook_name = ""
        """Hook that is running now, for event stamps."""
        self._generic: dict[type, object] = {}

    def generic(self, kind: type[State]) -> State:
        """Return this namespace's instance of `kind`, made with `kind(net)` on first use."""
        found = self._generic.get(kind)
        if found is None:
            found = self._generic[kind] = kind(self)  # type: ignore[call-arg]
        return cast("State", found)

    def device_by_index(self, ifindex: int) -> Device | None:
        """Return the device with this ifindex (dev_get_by_index)."""
        for device in self.devices.values():
            if device.ifindex == ifindex:
                return device
        return None

    def new_fate(self, parent: Fate | None = None) -> Fate:
        """Return the fate of a fresh packet; `parent` caused it."""
        return Fate(packet_id=self.packet_ids.next(), parent_id=parent.packet_id if parent else 0)

    def stamp(self, skb: Skb) -> Stamp:
        """Return the stamp of an event about `skb`, now."""
        return Stamp(
            time_ns=self.clock.now_ns,
            node=self.name,
            packet_id=skb.fate.packet_id,
            parent_id=skb.fate.parent_id,
            hook=self.hook_name,
        )

    def tell(self, skb: Skb, event: Event) -> None:
        """Hand an event to the sink; callers on hot paths ask `net.sink is not None` first."""
        if self.sink is not None:
            self.sink(self.stamp(skb), event)

    def printk(self, skb: Skb, text: str) -> None:
        """Write a line to the kernel log."""
        self.log.append(text)
        self.tell(skb, KernelLogged(text=text))


def kfree_skb_reason(net: Net, skb: Skb, reason: str, detail: str = "") -> None:
    """End a packet: `reason` is a SKB_DROP_REASON name without its prefix."""
    if not skb.fate.drop_reason:
        skb.fate.drop_reason = reason
    if net.sink is not None:
        net.tell(skb, PacketDropped(reason=reason, detail=detail))


def consume_skb(net: Net, skb: Skb, what: str) -> None:
    """End a packet well: the local stack of `net` took it."""
    if not skb.fate.delivered_to:
        skb.fate.delivered_to = net.name or "node"
    if net.sink is not None:
        net.tell(skb, PacketDelivered(what=what))


def skb_made(net: Net, skb: Skb, what: str) -> None:
    """Tell that the node made `skb` itself."""
    if net.sink is not None:
        net.tell(skb, PacketMade(what=what, packet=bytes(skb.data)))


def frame_left(net: Net, skb: Skb, device: str, frame: bytes) -> None:
    """Note that a copy of the packet left the node through a port."""
    skb.fate.frames.append(SentFrame(time_ns=net.clock.now_ns, device=device, frame=frame))


def nf_hook(  # noqa: PLR0913 - the kernel's own parameters
    net: Net,
    family: Family,
    hook: Hook,
    skb: Skb,
    in_device: Device | None,
    out_device: Device | None,
    okfn: Callable[[Skb], object],
) -> Verdict:
    """Run the functions of a hook, then `okfn` if all accept (NF_HOOK, nf_hook_slow).

    DROP ends the packet here; STOLEN means that someone else holds it. The verdict is returned for
    callers that clean up after a packet that did not go on.
    """
    entries = net.hooks.functions(family, hook)
    outer = net.hook_name
    if net.sink is not None and family in _TOLD:
        net.hook_name = hook.name
        net.tell(
            skb,
            HookEntered(
                in_device=in_device.name if in_device else "",
                out_device=out_device.name if out_device else "",
                packet=bytes(skb.data),
            ),
        )
    verdict = Verdict.ACCEPT
    if entries:
        verdict = nf_hook_slow(
            net,
            skb,
            HookState(
                family=family,
                hook=hook,
                in_device=in_device,
                out_device=out_device,
                okfn=okfn,
            ),
            BELOW_ALL,
        )
    net.hook_name = ""
    if verdict == Verdict.ACCEPT:
        okfn(skb)
    net.hook_name = outer
    return verdict


_TOLD = frozenset({Family.IPV4, Family.IPV6})
"""Families whose hooks stamp events; the bridge's own hooks are part of the link layer."""

BELOW_ALL = -(1 << 31) - 1
"""A priority lower than every registered one."""


def nf_hook_slow(net: Net, skb: Skb, state: HookState, above: int) -> Verdict:
    """Run the functions of `state.hook` whose priority is over `above`; do not call okfn.

    A function that answers REPEAT runs again; one that answers QUEUE ends the packet, since no
    program listens on the queue.
    """
    outer = net.hook_name
    if net.sink is not None:
        net.hook_name = state.hook.name if state.family in _TOLD else ""
    answer = Verdict.ACCEPT
    for priority, function in list(net.hooks.functions(state.family, state.hook)):
        if priority <= above:
            continue
        verdict = function(skb, state)
        while verdict == Verdict.REPEAT:
            verdict = function(skb, state)
        if verdict == Verdict.ACCEPT:
            continue
        if verdict == Verdict.DROP:
            kfree_skb_reason(net, skb, "NETFILTER_DROP")
        elif verdict == Verdict.QUEUE:
            kfree_skb_reason(net, skb, "NETFILTER_DROP", "nobody listens on the queue")
        answer = verdict
        break
    net.hook_name = outer
    return answer
