"""Sending: from a packet of our own or a forwarded one to the neighbour.

Kernel: net/ipv4/ip_output.c.

Theory of operation: `ip_local_out` runs the OUTPUT hook, `dst_output` takes the way that the route
names, `ip_output` runs POSTROUTING, `ip_finish_output` cuts what is too long, and the neighbour
layer finds the MAC address.
"""

from __future__ import annotations

from netemu.ip.fib import inet_addr_type
from netemu.ip.fib_table import Errno, Flowi4, RouteType
from netemu.ip.fragment import ip_do_fragment
from netemu.ip.neighbour import neigh_output
from netemu.ip.route import ip_route_output_key, loopback_of, rt_tos2priority
from netemu.ip.rtable import (
    IPSKB_REROUTED,
    DstOutput,
    Rtable,
    Rtcf,
    ip_skb_dst_mtu,
    skb_rtable,
)
from netemu.ip.sockets import ProgramSocket
from netemu.ip.upcall import report_error
from netemu.ip.validate_source import dissect_ports
from netemu.link.device import netif_rx
from netemu.net import Net, kfree_skb_reason, nf_hook
from netemu.netfilter.hook import Family, Hook, Verdict
from netemu.skb import ETH_P_IP, Checksum, Fate, PacketType, Skb
from netemu.wire.address import IPV4_ANY
from netemu.wire.icmp import IcmpType
from netemu.wire.ipv4 import IPv4

ICMP_FRAG_NEEDED = 4
"""Code of destination unreachable (RFC 1191)."""


def route_of(skb: Skb) -> Rtable:
    """Return the route of a packet that must have one here."""
    route = skb_rtable(skb)
    assert route is not None
    return route


def ip_select_ident(net: Net, skb: Skb) -> None:
    """Give a packet of our own its identification: 0 with DF, else a random one.

    Differs from Linux only in the numbers: there, too, they are unpredictable, but count up within
    a flow.
    """
    header = IPv4(skb.data)
    fixed = header.dont_fragment and not skb.ignore_df
    header.identification = 0 if fixed else net.entropy.stream("ipid").u16()


def ip_select_ttl(net: Net, route: Rtable) -> int:
    """Return the TTL of a packet of our own; multicast stays on its link."""
    if route.kind == RouteType.MULTICAST:
        return 1
    return net.sysctl.get("net.ipv4.ip_default_ttl")


def ip_local_out(net: Net, skb: Skb) -> bool:
    """Send a packet of our own that has its route: length, checksum, OUTPUT hook.

    False tells the sender that a hook dropped it (-EPERM).
    """
    header = IPv4(skb.data)
    header.total_length = len(skb.data)
    header.update_check()
    skb.protocol = ETH_P_IP
    passed = True

    def send(skb: Skb) -> None:
        nonlocal passed
        passed = dst_output(net, skb)

    device = route_of(skb).device
    verdict = nf_hook(net, Family.IPV4, Hook.OUTPUT, skb, None, device, send)
    return passed and verdict != Verdict.DROP


def dst_output(net: Net, skb: Skb) -> bool:
    """Send the packet as its route says; False when POSTROUTING drops it."""
    output = route_of(skb).output
    if output == DstOutput.OUTPUT:
        return ip_output(net, skb)
    if output == DstOutput.MC_OUTPUT:
        ip_mc_output(net, skb)
    else:
        kfree_skb_reason(net, skb, "NOT_SPECIFIED", "a route for received packets")
    return True


def ip_output(net: Net, skb: Skb) -> bool:
    """Run POSTROUTING; a packet that was rerouted has passed it already. False: dropped there."""
    in_device = skb.device
    device = route_of(skb).device
    skb.device = device
    skb.protocol = ETH_P_IP
    if skb.ip_flags & IPSKB_REROUTED:
        ip_finish_output(net, skb)
        return True
    verdict = nf_hook(
        net,
        Family.IPV4,
        Hook.POSTROUTING,
        skb,
        in_device,
        device,
        lambda sent: ip_finish_output(net, sent),
    )
    return verdict != Verdict.DROP


def ip_mc_output(net: Net, skb: Skb) -> None:
    """Send a multicast or broadcast and loop a copy back to ourselves."""
    route = route_of(skb)
    skb.device = route.device
    skb.protocol = ETH_P_IP
    if route.flags & (Rtcf.MULTICAST | Rtcf.BROADCAST):
        _post_routing(net, skb.clone(), loop=True)
        if isinstance(skb.sk, ProgramSocket):
            # A program sends: netif_rx lets the softirq run before it returns.
            net.clock.run_soon()
    if route.flags & Rtcf.MULTICAST and IPv4(skb.data).ttl == 0:
        kfree_skb_reason(net, skb, "NOT_SPECIFIED", "TTL 0 stays on the host")
        return
    if skb.ip_flags & IPSKB_REROUTED:
        ip_finish_output(net, skb)
    else:
        _post_routing(net, skb, loop=False)


def _post_routing(net: Net, skb: Skb, *, loop: bool) -> None:
    finish = _ip_mc_finish_output if loop else ip_finish_output
    nf_hook(
        net,
        Family.IPV4,
        Hook.POSTROUTING,
        skb,
        None,
        skb.device,
        lambda sent: finish(net, sent),
    )


def _ip_mc_finish_output(net: Net, skb: Skb) -> None:
    """Receive the copy on the device that it was sent by (dev_loopback_xmit)."""
    route = route_of(skb)
    skb.dst = Rtable(
        kind=route.kind,
        device=loopback_of(net, route.device),
        flags=route.flags,
        gateway=route.gateway,
        input=route.input,
        output=route.output,
    )
    skb.mac_header = b""
    skb.pkt_type = PacketType.LOOPBACK
    skb.ip_summed = Checksum.UNNECESSARY
    netif_rx(net, skb)


def ip_finish_output(net: Net, skb: Skb) -> None:
    """Cut what does not fit, then send."""
    if not skb.gso:
        mtu = ip_skb_dst_mtu(skb)
        if len(skb.data) > mtu or skb.frag_max_size:
            _ip_fragment(net, skb, mtu)
            return
    ip_finish_output2(net, skb)


def _ip_fragment(net: Net, skb: Skb, mtu: int) -> None:
    if IPv4(skb.data).dont_fragment:
        largest = skb.frag_max_size
        if not skb.ignore_df or (largest and largest > mtu):
            report_error(net, skb, IcmpType.DEST_UNREACH, ICMP_FRAG_NEEDED, mtu)
            kfree_skb_reason(net, skb, "NOT_SPECIFIED", f"longer than the MTU {mtu}, DF set")
            return
    ip_do_fragment(net, skb, lambda piece: ip_finish_output2(net, piece))


def ip_finish_output2(net: Net, skb: Skb) -> None:
    """Hand the packet to the neighbour layer."""
    route = route_of(skb)
    next_hop = route.nexthop(IPv4(skb.data).dst)
    neigh_output(net, skb, route.device, next_hop)


def ip_send_packet(
    net: Net, packet: bytes | bytearray, *, mark: int = 0, fate: Fate | None = None
) -> Fate:
    """Let the node send `packet` itself; return what became of it.

    This is what a raw socket with IP_HDRINCL does (raw_send_hdrinc) that has the packet's TOS and
    is bound to its source, as far as that is an address of ours: so the route is the one that a
    program's own socket gets. A source of 0.0.0.0 is chosen by the route.
    """
    skb = Skb(packet, protocol=ETH_P_IP, fate=fate or net.new_fate())
    skb.mark = mark
    skb.sk = ProgramSocket()
    header = IPv4(skb.data)
    skb.priority = rt_tos2priority(header.tos)
    ours = inet_addr_type(net, header.src) == RouteType.LOCAL
    flow = Flowi4(
        daddr=header.dst, saddr=header.src if ours else IPV4_ANY, tos=header.tos, mark=mark
    )
    dissect_ports(skb, flow)
    route = ip_route_output_key(net, flow, skb)
    if isinstance(route, Errno):
        kfree_skb_reason(net, skb, "IP_OUTNOROUTES", f"no route: {route}")
        return skb.fate
    if len(skb.data) > route.device.mtu:
        kfree_skb_reason(net, skb, "PKT_TOO_BIG", f"EMSGSIZE: MTU {route.device.mtu}")
        return skb.fate
    if header.src == IPV4_ANY:
        header.src = flow.saddr
    skb.dst = route
    if not header.identification:
        ip_select_ident(net, skb)
    ip_local_out(net, skb)
    return skb.fate
