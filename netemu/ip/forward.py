"""Forwarding: what a router does with a packet between PREROUTING and POSTROUTING.

Kernel: net/ipv4/ip_forward.c. RFC 1812 section 5.2.
"""

from __future__ import annotations

from netemu.events import HeaderRewritten
from netemu.ip.icmp import icmp_send
from netemu.ip.options import ip_forward_options, skb_options
from netemu.ip.output import ICMP_FRAG_NEEDED, dst_output, route_of
from netemu.ip.route import rt_tos2priority
from netemu.ip.route_errors import ip_rt_send_redirect
from netemu.ip.rtable import IPSKB_DOREDIRECT, IPSKB_FORWARDED, ip_dst_mtu_maybe_forward
from netemu.net import Net, kfree_skb_reason, nf_hook
from netemu.netfilter.hook import Family, Hook
from netemu.skb import PacketType, Skb
from netemu.wire.icmp import IcmpType
from netemu.wire.ipv4 import IPv4

ICMP_SR_FAILED = 5
"""Code of destination unreachable: a strict source route named no neighbour (RFC 792)."""


def ip_forward(net: Net, skb: Skb) -> None:
    """Send a received packet on: checks, TTL, redirect, FORWARD hook."""
    if skb.pkt_type != PacketType.HOST or skb.sk is not None:
        kfree_skb_reason(net, skb, "NOT_SPECIFIED", f"{skb.pkt_type.name} is not forwarded")
        return
    header = IPv4(skb.data)
    ttl = header.ttl
    if ttl <= 1:
        icmp_send(net, skb, IcmpType.TIME_EXCEEDED, 0, 0)
        kfree_skb_reason(net, skb, "IP_INHDR", "TTL exceeded")
        return
    route = route_of(skb)
    options = skb_options(skb)
    if options is not None and options.is_strictroute and route.gateway:
        icmp_send(net, skb, IcmpType.DEST_UNREACH, ICMP_SR_FAILED, 0)
        kfree_skb_reason(net, skb, "NOT_SPECIFIED", "strict source route through a gateway")
        return
    skb.ip_flags |= IPSKB_FORWARDED
    mtu = ip_dst_mtu_maybe_forward(route, forwarding=True)
    if _ip_exceeds_mtu(skb, mtu):
        icmp_send(net, skb, IcmpType.DEST_UNREACH, ICMP_FRAG_NEEDED, mtu)
        kfree_skb_reason(net, skb, "PKT_TOO_BIG", f"longer than the MTU {mtu}, DF set")
        return
    _ip_decrease_ttl(header)
    if net.sink is not None:
        net.tell(skb, HeaderRewritten(what="ttl", before=str(ttl), after=str(ttl - 1)))
    if skb.ip_flags & IPSKB_DOREDIRECT and not (options is not None and options.srr):
        ip_rt_send_redirect(net, skb)
    if net.sysctl.get("net.ipv4.ip_forward_update_priority"):
        skb.priority = rt_tos2priority(header.tos)
    nf_hook(
        net,
        Family.IPV4,
        Hook.FORWARD,
        skb,
        skb.device,
        route.device,
        lambda accepted: _ip_forward_finish(net, accepted),
    )


def _ip_exceeds_mtu(skb: Skb, mtu: int) -> bool:
    if len(skb.data) <= mtu or not IPv4(skb.data).dont_fragment:
        return False
    # An original fragment exceeded the MTU and had DF.
    if skb.frag_max_size > mtu:
        return True
    return not skb.ignore_df and not skb.gso


def _ip_decrease_ttl(header: IPv4) -> None:
    """Count the TTL down; the checksum goes up by 0x0100 with end-around carry."""
    check = header.check + 0x0100
    header.check = (check + (1 if check >= 0xFFFF else 0)) & 0xFFFF
    header.ttl -= 1


def _ip_forward_finish(net: Net, skb: Skb) -> None:
    options = skb_options(skb)
    if options is not None and options.optlen:
        ip_forward_options(net, skb, options)
    dst_output(net, skb)
