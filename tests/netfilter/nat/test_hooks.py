"""When the nat chains are asked, and what happens around the translation."""

from __future__ import annotations

from netemu.clock import Clock
from netemu.link.device import Device
from netemu.net import Net
from netemu.netfilter.conntrack.connection import Connection, CtInfo, Status, nf_ct_set
from netemu.netfilter.conntrack.table import Conntrack
from netemu.netfilter.conntrack.tuple import Tuple, inverse
from netemu.netfilter.hook import Family, Hook, HookState, Priority, Verdict
from netemu.netfilter.nat.core import nf_nat_setup_info
from netemu.netfilter.nat.hooks import (
    nf_nat_ipv4_fn,
    nf_nat_ipv4_local_in,
    nf_nat_ipv4_out,
    nf_nat_ipv4_pre_routing,
    register,
)
from netemu.netfilter.nat.range import MAP_IPS, Manip, NatRange
from netemu.skb import ETH_P_IP, Skb
from netemu.wire.ipv4 import build_ipv4
from netemu.wire.udp import build_udp

A, B, C = bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2]), bytes([10, 0, 0, 3])


class Wire(Device):
    """A device for its index."""

    def xmit(self, skb: Skb) -> None:
        """Send nothing."""


def make_net() -> Net:
    return Net(clock=Clock(0, 250))


def packet(net: Net, connection: Connection | None, ctinfo: CtInfo = CtInfo.NEW) -> Skb:
    datagram = build_udp(src=A, dst=B, src_port=1, dst_port=2)
    data = build_ipv4(src=A, dst=B, protocol=17, payload=bytes(datagram))
    skb = Skb(data, protocol=ETH_P_IP, fate=net.new_fate())
    nf_ct_set(skb, connection, ctinfo)
    return skb


def connection() -> Connection:
    original = Tuple(A, B, 17, 1, 2)
    return Connection(original, inverse(original))


def at(hook: Hook, out_device: Device | None = None) -> HookState:
    return HookState(
        family=Family.IPV4, hook=hook, in_device=None, out_device=out_device, okfn=lambda skb: None
    )


def wire(index: int) -> Wire:
    return Wire(name=f"eth{index}", ifindex=index, mac=bytes(6))


class Chain:
    """A nat chain that counts and may bind."""

    def __init__(
        self, net: Net, to: bytes | None = None, verdict: Verdict = Verdict.ACCEPT
    ) -> None:
        self.net = net
        self.to = to
        self.verdict = verdict
        self.asked = 0

    def __call__(self, skb: Skb, state: HookState) -> Verdict:
        self.asked += 1
        if self.to is not None:
            assert isinstance(skb.nfct, Connection)
            range_ = NatRange(flags=MAP_IPS, min_address=self.to, max_address=self.to)
            nf_nat_setup_info(self.net, skb.nfct, range_, Manip.DST)
        return self.verdict


def test_four_hooks_with_the_first_chain() -> None:
    """NAT's own functions come once, at the kernel's priorities."""
    net = make_net()
    for hook in (Hook.PREROUTING, Hook.OUTPUT):
        register(net, hook, Priority.NAT_DST, Chain(net))
    assert {
        hook: [priority for priority, _ in net.hooks.functions(Family.IPV4, hook)] for hook in Hook
    } == {
        Hook.PREROUTING: [Priority.NAT_DST],
        Hook.INPUT: [Priority.NAT_SRC],
        Hook.FORWARD: [],
        Hook.OUTPUT: [Priority.NAT_DST],
        Hook.POSTROUTING: [Priority.NAT_SRC],
    }


def test_chain_is_asked_for_the_first_packet_only() -> None:
    """Also when no rule matched: the null binding counts."""
    net = make_net()
    chain = Chain(net)
    register(net, Hook.PREROUTING, Priority.NAT_DST, chain)
    made = connection()
    for _ in range(3):
        assert nf_nat_ipv4_fn(net, packet(net, made), at(Hook.PREROUTING)) == Verdict.ACCEPT
    assert chain.asked == 1
    assert made.flags == Status.DST_NAT_DONE


def test_later_chains_are_not_asked_once_bound() -> None:
    """Two tables below one hook; of equal priorities the later one comes first."""
    net = make_net()
    last, first, early = Chain(net), Chain(net, to=C), Chain(net)
    register(net, Hook.PREROUTING, Priority.NAT_DST, last)
    register(net, Hook.PREROUTING, Priority.NAT_DST, first)
    register(net, Hook.PREROUTING, Priority.NAT_DST - 1, early)
    skb = packet(net, connection())
    nf_nat_ipv4_fn(net, skb, at(Hook.PREROUTING))
    assert (early.asked, first.asked, last.asked) == (1, 1, 0)
    assert skb.data[16:20] == C


def test_chain_s_verdict_ends_it() -> None:
    """MASQUERADE without an address drops."""
    net = make_net()
    register(net, Hook.PREROUTING, Priority.NAT_DST, Chain(net, verdict=Verdict.DROP))
    made = connection()
    assert nf_nat_ipv4_fn(net, packet(net, made), at(Hook.PREROUTING)) == Verdict.DROP
    assert made.flags == Status(0)


def test_no_connection_no_translation() -> None:
    """INVALID and untracked packets pass as they are."""
    net = make_net()
    chain = Chain(net, to=C)
    register(net, Hook.PREROUTING, Priority.NAT_DST, chain)
    assert nf_nat_ipv4_fn(net, packet(net, None), at(Hook.PREROUTING)) == Verdict.ACCEPT
    assert chain.asked == 0


def test_established_is_never_asked() -> None:
    """Not even a connection that began before there was a nat table."""
    net = make_net()
    chain = Chain(net, to=C)
    register(net, Hook.PREROUTING, Priority.NAT_DST, chain)
    skb = packet(net, connection(), CtInfo.ESTABLISHED)
    assert nf_nat_ipv4_fn(net, skb, at(Hook.PREROUTING)) == Verdict.ACCEPT
    assert chain.asked == 0


def test_new_destination_forgets_the_route() -> None:
    """And only a new one."""
    net = make_net()
    register(net, Hook.PREROUTING, Priority.NAT_DST, Chain(net, to=C))
    skb = packet(net, connection())
    skb.dst = route = object()
    nf_nat_ipv4_pre_routing(net, skb, at(Hook.PREROUTING))
    assert skb.dst is None
    skb = packet(net, None)
    skb.dst = route
    nf_nat_ipv4_pre_routing(net, skb, at(Hook.PREROUTING))
    assert skb.dst is route


def test_new_source_forgets_the_socket() -> None:
    """Early demux looked with the old address."""
    net = make_net()
    register(net, Hook.INPUT, Priority.NAT_SRC, Chain(net))
    made = connection()
    made.reply = inverse(made.original._replace(src=C))
    made.status = Status.SRC_NAT | Status.SRC_NAT_DONE | Status.DST_NAT_DONE
    skb = packet(net, made)
    skb.sk = object()
    nf_nat_ipv4_local_in(net, skb, at(Hook.INPUT))
    assert skb.data[12:16] == C
    assert skb.sk is None


def test_masqueraded_connection_does_not_change_its_device() -> None:
    """Out of another device it would have the wrong address: it is killed."""
    net = make_net()
    register(net, Hook.POSTROUTING, Priority.NAT_SRC, Chain(net))
    made = connection()
    made.status = int(Status.SRC_NAT_DONE | Status.DST_NAT_DONE)
    made.masq_ifindex = 2
    made.timeout = 1000
    net.generic(Conntrack).insert(made)
    for ctinfo in (CtInfo.NEW, CtInfo.ESTABLISHED):
        skb = packet(net, made, ctinfo)
        assert nf_nat_ipv4_out(net, skb, at(Hook.POSTROUTING, wire(2))) == Verdict.ACCEPT
    skb = packet(net, made, CtInfo.ESTABLISHED_REPLY)
    assert nf_nat_ipv4_out(net, skb, at(Hook.POSTROUTING, wire(3))) == Verdict.ACCEPT
    skb = packet(net, made, CtInfo.ESTABLISHED)
    assert nf_nat_ipv4_out(net, skb, at(Hook.POSTROUTING, wire(3))) == Verdict.DROP
    assert len(net.generic(Conntrack)) == 0
