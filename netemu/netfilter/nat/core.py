"""Binding connections, and NAT's place at the hooks.

Kernel: net/netfilter/nf_nat_core.c, net/netfilter/nf_nat_proto.c (nf_nat_ipv4_ops).

Theory of operation: a new connection is bound once per side, for the destination at PREROUTING or
OUTPUT, for the source at POSTROUTING or INPUT; without a matching rule it is bound to the address
that it has, and even then its port changes if another connection would get the same answers.

There is one NAT function per hook. The nat tables' chains hang below it and
are asked only for a connection that has not been bound at that side yet; packets of a bound one
are translated without any rule.
"""

from __future__ import annotations

from bisect import insort
from functools import partial

from netemu.events import NatBound
from netemu.ip.route import ip_route_me_harder
from netemu.net import Net
from netemu.netfilter.conntrack.connection import (
    IPS_CONFIRMED,
    IPS_DST_NAT,
    IPS_DST_NAT_DONE,
    IPS_SRC_NAT,
    IPS_SRC_NAT_DONE,
    ORIGINAL,
    Connection,
    CtInfo,
    ctinfo_direction,
    nf_ct_get,
)
from netemu.netfilter.conntrack.table import nf_ct_kill_acct
from netemu.netfilter.conntrack.tuple import half_text, inverse
from netemu.netfilter.hook import Family, Hook, HookFunction, HookState, Priority, Verdict
from netemu.netfilter.nat.icmp import nf_nat_icmp_reply_translation
from netemu.netfilter.nat.proto import nf_nat_manip_pkt
from netemu.netfilter.nat.range import MAP_IPS, Manip, NatRange, hook_to_manip, status_bit
from netemu.netfilter.nat.unique_tuple import get_unique_tuple
from netemu.skb import Device, Skb
from netemu.wire.ipv4 import IPPROTO_ICMP


def nf_nat_initialized(connection: Connection, manip: Manip) -> bool:
    """Return whether a side is bound already."""
    return bool(connection.status & (IPS_DST_NAT_DONE if manip else IPS_SRC_NAT_DONE))


def nf_nat_setup_info(
    net: Net, connection: Connection, range_: NatRange, manip: Manip, skb: Skb | None = None
) -> Verdict:
    """Bind one side of a new connection; a confirmed one is left alone.

    `skb` is the packet at hand, for the event.
    """
    if connection.status & IPS_CONFIRMED:
        return Verdict.ACCEPT
    assert not nf_nat_initialized(connection, manip)
    current = inverse(connection.reply)
    new = get_unique_tuple(net, connection, current, range_, manip)
    if new != current:
        connection.reply = inverse(new)
        connection.status |= IPS_DST_NAT if manip else IPS_SRC_NAT
        if net.sink is not None and skb is not None:
            source = manip == Manip.SRC
            net.tell(
                skb,
                NatBound(
                    manip=manip.word,
                    before=half_text(current, source=source),
                    after=half_text(new, source=source),
                ),
            )
    connection.status |= IPS_DST_NAT_DONE if manip else IPS_SRC_NAT_DONE
    return Verdict.ACCEPT


def nf_nat_alloc_null_binding(
    net: Net, connection: Connection, hook: Hook, skb: Skb | None = None
) -> Verdict:
    """Bind a side to the address that it has."""
    manip = hook_to_manip(hook)
    address = connection.reply.src if manip else connection.reply.dst
    range_ = NatRange(flags=MAP_IPS, min_address=address, max_address=address)
    return nf_nat_setup_info(net, connection, range_, manip, skb)


def nf_nat_packet(
    net: Net, connection: Connection, ctinfo: CtInfo, hook: Hook, skb: Skb
) -> Verdict:
    """Translate a packet as its connection was bound."""
    manip = hook_to_manip(hook)
    direction = ctinfo_direction(ctinfo)
    if connection.status & status_bit(manip, direction):
        return nf_nat_manip_pkt(net, skb, connection, manip, direction)
    return Verdict.ACCEPT


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


def nf_nat_register_fn(
    net: Net, hook: Hook, chain_function: HookFunction, priority: int | None = None
) -> None:
    """Hang a nat table's chain below NAT's function at `hook`.

    The first one registers NAT's own functions. Connections must be tracked for anything to
    happen: whoever has a NAT target calls `nf_ct_netns_get`.
    """
    hooks = net.generic(NatHooks)
    if priority is None:
        priority = Priority.NAT_DST if hook_to_manip(hook) else Priority.NAT_SRC
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
