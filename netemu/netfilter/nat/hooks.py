"""NAT's place at the hooks, and when the nat tables' chains are asked.

Kernel: net/netfilter/nf_nat_core.c (nf_nat_register_fn, nf_nat_inet_fn),
net/netfilter/nf_nat_proto.c (nf_nat_ipv4_ops).

Theory of operation: there is one NAT function per hook. The nat tables' chains hang below it and
are asked only for a connection that has not been bound at that side yet; packets of a bound one
are translated without any rule.
"""

from __future__ import annotations

from bisect import insort
from functools import partial

from netemu.ip.route import ip_route_me_harder
from netemu.net import Net
from netemu.netfilter.conntrack.connection import (
    ORIGINAL,
    Connection,
    CtInfo,
    ctinfo_direction,
    nf_ct_get,
)
from netemu.netfilter.conntrack.table import nf_ct_kill_acct
from netemu.netfilter.hook import Family, Hook, HookFunction, HookState, Priority, Verdict
from netemu.netfilter.nat.core import nf_nat_alloc_null_binding, nf_nat_initialized, nf_nat_packet
from netemu.netfilter.nat.icmp import nf_nat_icmp_reply_translation
from netemu.netfilter.nat.range import hook_to_manip
from netemu.skb import Device, Skb
from netemu.wire.ipv4 import IPPROTO_ICMP


class NatHooks:
    """The chains below nf_nat's functions in one namespace (struct nat_net)."""

    __slots__ = ("_order", "chains", "registered")

    def __init__(self, net: Net) -> None:
        """Start without any; found by `net.generic(NatHooks)`."""
        del net
        self.registered = False
        self.chains: dict[Hook, list[tuple[int, int, HookFunction]]] = {}
        """(priority, order, function), in running order."""
        self._order = 0

    def add(self, hook: Hook, priority: int, function: HookFunction) -> None:
        """Add a chain; of equal priorities the later one runs first."""
        self._order += 1
        chain = self.chains.setdefault(hook, [])
        insort(chain, (priority, -self._order, function), key=lambda entry: entry[:2])


def register(net: Net, hook: Hook, priority: int, chain_function: HookFunction) -> None:
    """Hang a nat table's chain below NAT's function at `hook` (nf_nat_register_fn).

    The first one registers NAT's own functions. Connections must be tracked for anything to
    happen: whoever has a NAT target calls `nf_ct_netns_get`.
    """
    hooks = net.generic(NatHooks)
    hooks.add(hook, priority, chain_function)
    if hooks.registered:
        return
    hooks.registered = True
    add = partial(net.hooks.register, Family.IPV4)
    add(Hook.PREROUTING, Priority.NAT_DST, partial(nf_nat_ipv4_pre_routing, net))
    add(Hook.POSTROUTING, Priority.NAT_SRC, partial(nf_nat_ipv4_out, net))
    add(Hook.OUTPUT, Priority.NAT_DST, partial(nf_nat_ipv4_local_fn, net))
    add(Hook.INPUT, Priority.NAT_SRC, partial(nf_nat_ipv4_local_in, net))


def nf_nat_ipv4_pre_routing(net: Net, skb: Skb, state: HookState) -> Verdict:
    """Translate at PREROUTING; a new destination needs a new route."""
    before = skb.data[16:20]
    verdict = nf_nat_ipv4_fn(net, skb, state)
    if verdict == Verdict.ACCEPT and skb.data[16:20] != before:
        skb.dst = None
    return verdict


def nf_nat_ipv4_local_in(net: Net, skb: Skb, state: HookState) -> Verdict:
    """Translate at INPUT; a new source means that early demux found the wrong socket."""
    before = skb.data[12:16]
    verdict = nf_nat_ipv4_fn(net, skb, state)
    if verdict == Verdict.ACCEPT and skb.data[12:16] != before:
        skb.sk = None
    return verdict


def nf_nat_ipv4_out(net: Net, skb: Skb, state: HookState) -> Verdict:
    """Translate at POSTROUTING."""
    return nf_nat_ipv4_fn(net, skb, state)


def nf_nat_ipv4_local_fn(net: Net, skb: Skb, state: HookState) -> Verdict:
    """Translate at OUTPUT and route anew, every packet of a connection with a new destination."""
    verdict = nf_nat_ipv4_fn(net, skb, state)
    if verdict != Verdict.ACCEPT:
        return verdict
    connection, ctinfo = nf_ct_get(skb)
    if connection is not None:
        direction = ctinfo_direction(ctinfo)
        other = connection.tuple_of(not direction)
        if connection.tuple_of(direction).dst != other.src and ip_route_me_harder(net, skb):
            return Verdict.DROP
    return verdict


def nf_nat_ipv4_fn(net: Net, skb: Skb, state: HookState) -> Verdict:
    """Translate an IPv4 packet: ICMP errors in their own way, others by their connection."""
    connection, ctinfo = nf_ct_get(skb)
    if connection is None:
        return Verdict.ACCEPT
    related = ctinfo in (CtInfo.RELATED, CtInfo.RELATED_REPLY)
    if related and skb.data[9] == IPPROTO_ICMP:
        if nf_nat_icmp_reply_translation(net, skb, connection, ctinfo, state.hook):
            return Verdict.ACCEPT
        return Verdict.DROP
    return nf_nat_inet_fn(net, skb, state)


def nf_nat_inet_fn(net: Net, skb: Skb, state: HookState) -> Verdict:
    """Bind a new connection by the nat chains, then translate the packet."""
    connection, ctinfo = nf_ct_get(skb)
    if connection is None:
        return Verdict.ACCEPT
    hook = state.hook
    manip = hook_to_manip(hook)
    new = ctinfo in (CtInfo.NEW, CtInfo.RELATED, CtInfo.RELATED_REPLY)
    if new and not nf_nat_initialized(connection, manip):
        for _, _, chain in net.generic(NatHooks).chains.get(hook, ()):
            verdict = chain(skb, state)
            if verdict != Verdict.ACCEPT:
                return verdict
            if nf_nat_initialized(connection, manip):
                break
        else:
            nf_nat_alloc_null_binding(net, connection, hook, skb)
    elif nf_nat_oif_changed(hook, ctinfo, connection, state.out_device):
        nf_ct_kill_acct(net, connection, ctinfo, skb, "masqueraded over another device before")
        return Verdict.DROP
    return nf_nat_packet(net, connection, ctinfo, hook, skb)


def nf_nat_oif_changed(
    hook: Hook, ctinfo: CtInfo, connection: Connection, out_device: Device | None
) -> bool:
    """Return whether a masqueraded connection now leaves by another device."""
    return (
        connection.masq_ifindex != 0
        and hook == Hook.POSTROUTING
        and ctinfo_direction(ctinfo) == ORIGINAL
        and out_device is not None
        and connection.masq_ifindex != out_device.ifindex
    )
