"""What a rejected packet's sender gets: a TCP RST or an ICMP error.

Kernel: net/ipv4/netfilter/nf_reject_ipv4.c, include/net/netfilter/nf_reject.h,
net/netfilter/utils.c (nf_ip_checksum).
"""

from __future__ import annotations

from netemu.ip.fib_table import Errno, Flowi4
from netemu.ip.icmp import icmp_send, ip4_reply_mark
from netemu.ip.output import ip_local_out
from netemu.ip.route import ip_route_me_harder, ip_route_output_key
from netemu.ip.rtable import IPSKB_FORWARDED, Rtcf, ip_skb_dst_mtu, skb_rtable
from netemu.ip.tcp import reset_segment
from netemu.link.device import dev_queue_xmit, skb_leave_checksum
from netemu.net import Net, skb_made
from netemu.netfilter.hook import Hook
from netemu.skb import ETH_P_IP, Checksum, Skb
from netemu.wire.checksum import internet_checksum, pseudo_header_sum
from netemu.wire.icmp import IcmpType
from netemu.wire.ipv4 import (
    IPPROTO_AH,
    IPPROTO_DCCP,
    IPPROTO_ESP,
    IPPROTO_GRE,
    IPPROTO_SCTP,
    IPPROTO_TCP,
    IPPROTO_UDP,
    IPPROTO_UDPLITE,
    IPv4,
    build_ipv4,
)
from netemu.wire.tcp import MIN_HEADER_LEN, TCP, Flag
from netemu.wire.udp import HEADER_LEN, UDP

_UNCHECKED = frozenset(
    (IPPROTO_GRE, IPPROTO_AH, IPPROTO_ESP, IPPROTO_SCTP, IPPROTO_UDPLITE, IPPROTO_DCCP)
)
"""Protocols with other checksums, or none over all of the payload (nf_reject_verify_csum)."""


def nf_send_reset(net: Net, skb: Skb, hook: Hook) -> None:
    """Answer a rejected TCP segment with a RST, where one may be sent."""
    if not _may_reset(skb) or not _ensure_route(net, skb):
        return
    route = skb_rtable(skb)
    assert route is not None
    if route.flags & (Rtcf.BROADCAST | Rtcf.MULTICAST):
        return
    del hook
    header = IPv4(skb.data)
    packet = build_ipv4(
        src=header.dst,
        dst=header.src,
        protocol=IPPROTO_TCP,
        payload=reset_segment(skb),
        ttl=net.sysctl.get("net.ipv4.ip_default_ttl"),
        dont_fragment=True,
    )
    reply = Skb(packet, protocol=ETH_P_IP, fate=net.new_fate(parent=skb.fate))
    skb_leave_checksum(reply)
    reply.mark = ip4_reply_mark(net, skb)
    if ip_route_me_harder(net, reply) is not None:
        return
    if len(reply.data) > ip_skb_dst_mtu(reply):
        return
    if net.nf_ct_attach is not None:
        net.nf_ct_attach(reply, skb)
    if net.nf_ct_set_closing is not None:
        net.nf_ct_set_closing(skb)
    skb_made(net, reply, "tcp rst")
    if skb.nf_bridge is None:
        ip_local_out(net, reply)
    else:
        _send_to_port(net, skb, reply)


def _send_to_port(net: Net, skb: Skb, reply: Skb) -> None:
    """Send the answer to a bridged packet out of the port that it came by, MACs swapped.

    Through ip_local_out it would carry the bridge's own MAC, which confuses some routers.
    """
    assert skb.nf_bridge is not None
    port = skb.nf_bridge.physindev
    if port is None:
        return
    reply.device = port
    reply.mac_header = skb.mac_header[6:12] + skb.mac_header[:6] + ETH_P_IP.to_bytes(2, "big")
    dev_queue_xmit(net, reply)


def _may_reset(skb: Skb) -> bool:
    """Return whether the packet is a TCP segment that a RST may answer."""
    header = IPv4(skb.data)
    start = header.header_len
    if header.fragment_offset or header.protocol != IPPROTO_TCP:
        return False
    if len(skb.data) < start + MIN_HEADER_LEN:
        return False
    return not TCP(skb.data, start).flags & Flag.RST and nf_ip_checksum_ok(skb)


def _ensure_route(net: Net, skb: Skb) -> bool:
    """Give a packet that has no route yet the one to its sender (nf_reject_fill_skb_dst)."""
    if skb_rtable(skb) is not None:
        return True
    route = ip_route_output_key(net, Flowi4(daddr=IPv4(skb.data).src))
    if isinstance(route, Errno):
        return False
    skb.dst = route
    return True


def nf_send_unreach(net: Net, skb: Skb, code: int, hook: Hook) -> None:
    """Answer a rejected packet with "destination unreachable", unless its checksum is wrong."""
    del hook
    header = IPv4(skb.data)
    if header.fragment_offset or not _ensure_route(net, skb):
        return
    known = skb.ip_summed != Checksum.NONE  # skb_csum_unnecessary: remembered when forwarded
    if known or not _verify_csum(skb) or nf_ip_checksum_ok(skb):
        icmp_send(net, skb, IcmpType.DEST_UNREACH, code, 0)


def _verify_csum(skb: Skb) -> bool:
    """Return whether the L4 checksum must be right for an answer (nf_reject_verify_csum)."""
    header = IPv4(skb.data)
    start = header.header_len
    if header.protocol == IPPROTO_UDP and len(skb.data) >= start + HEADER_LEN:
        return UDP(skb.data, start).check != 0
    return header.protocol not in _UNCHECKED


def nf_ip_checksum_ok(skb: Skb) -> bool:
    """Return whether the L4 checksum is right (nf_ip_checksum).

    Of a protocol that the kernel does not know, too, all 16-bit words must add up to ffff; so a
    packet of such a protocol mostly is rejected in silence. The kernel adds up the IP header as
    well, which is right only until a record route option was filled in: its checksum follows
    when the packet is sent on. What conntrack found out does not count any more for a packet that
    is forwarded (skb_forward_csum).
    """
    if skb.ip_summed == Checksum.PARTIAL:
        return True
    if skb.ip_summed == Checksum.UNNECESSARY and not skb.ip_flags & IPSKB_FORWARDED:
        return True
    header = IPv4(skb.data)
    protocol = header.protocol
    pseudo = 0
    if protocol in {IPPROTO_TCP, IPPROTO_UDP}:
        length = len(skb.data) - header.header_len
        pseudo = pseudo_header_sum(header.src, header.dst, protocol, length)
    return not internet_checksum(skb.data, pseudo)
