"""Receiving: from the device to the route, and into the node.

Kernel: net/ipv4/ip_input.c.

The header is checked before any netfilter hook runs, so a broken packet is never seen there.

Differs from Linux: raw sockets, tunnels (IPIP, GRE), IPsec and SCTP have no receiver here; their
packets are answered by "protocol unreachable", as on a kernel where nothing took up the protocol.
"""

from __future__ import annotations

from collections.abc import Callable

from netemu.ip.fib_table import RouteType
from netemu.ip.forward import ip_forward
from netemu.ip.fragment import DefragUser, ip_defrag, ip_is_fragment
from netemu.ip.icmp import icmp_rcv, icmp_send
from netemu.ip.options import ip_rcv_options
from netemu.ip.output import route_of
from netemu.ip.route import ip_route_input
from netemu.ip.route_errors import ip_error
from netemu.ip.rtable import DstInput
from netemu.ip.tcp import tcp_v4_rcv
from netemu.ip.udp import udp_rcv
from netemu.net import Net, consume_skb, kfree_skb_reason, nf_hook
from netemu.netfilter.hook import Family, Hook
from netemu.skb import PacketType, Skb
from netemu.wire.checksum import internet_checksum
from netemu.wire.icmp import IcmpType
from netemu.wire.ipv4 import (
    IPPROTO_ICMP,
    IPPROTO_IGMP,
    IPPROTO_TCP,
    IPPROTO_UDP,
    IPPROTO_UDPLITE,
    MIN_HEADER_LEN,
    IPv4,
)
from netemu.wire.tcp import MIN_HEADER_LEN as TCP_HEADER_LEN

IPPROTO_PIM = 103
"""Protocol independent multicast (IANA)."""

ICMP_PROT_UNREACH = 2
"""Code of destination unreachable (RFC 792)."""


def ip_rcv(net: Net, skb: Skb) -> None:
    """Take a packet from a device: check it, then run PREROUTING."""
    reason = _ip_rcv_core(skb)
    if reason:
        kfree_skb_reason(net, skb, reason)
        return
    nf_hook(
        net,
        Family.IPV4,
        Hook.PREROUTING,
        skb,
        skb.device,
        None,
        lambda accepted: ip_rcv_finish(net, accepted),
    )


def _ip_rcv_core(skb: Skb) -> str:
    """Check and trim the packet; a drop reason, or empty."""
    if skb.pkt_type == PacketType.OTHERHOST:
        return "OTHERHOST"
    data = skb.data
    if len(data) < MIN_HEADER_LEN:
        return "IP_INHDR"
    header = IPv4(data)
    header_len = header.header_len
    if header_len < MIN_HEADER_LEN or header.version != 4 or len(data) < header_len:
        return "IP_INHDR"
    if internet_checksum(data[:header_len]):
        return "IP_CSUM"
    length = header.total_length
    if skb.gso and not length:
        # A super-frame beyond 64 KiB has no length (iph_totlen, BIG TCP).
        length = len(data)
    if len(data) < length:
        return "PKT_TOO_SMALL"
    if length < header_len:
        return "IP_INHDR"
    del data[length:]
    skb.ip_flags = 0
    skb.frag_max_size = 0
    skb.options = None
    skb.sk = None
    return ""


def ip_rcv_finish(net: Net, skb: Skb) -> None:
    """Route the packet, process its options, and hand it on."""
    device = skb.device
    assert device is not None
    header = IPv4(skb.data)
    if skb.dst is None:
        if header.protocol == IPPROTO_TCP and skb.frag_list is not None:
            _tcp_v4_early_demux(net, skb)
        reason = ip_route_input(net, skb, header.dst, header.src, header.tos, device)
        if reason:
            kfree_skb_reason(net, skb, reason)
            return
    if header.header_len > MIN_HEADER_LEN:
        reason = ip_rcv_options(net, skb, device)
        if reason:
            kfree_skb_reason(net, skb, reason, "IP options")
            return
    kind = route_of(skb).kind
    group = skb.pkt_type in {PacketType.BROADCAST, PacketType.MULTICAST}
    if group and kind not in {RouteType.MULTICAST, RouteType.BROADCAST}:
        if net.sysctl.conf_or(device.name, "drop_unicast_in_l2_multicast"):
            kfree_skb_reason(net, skb, "UNICAST_IN_L2_MULTICAST")
            return
    dst_input(net, skb)


def _tcp_v4_early_demux(net: Net, skb: Skb) -> None:
    """Let the whole TCP header be in the first part of a packet that came in fragments.

    Nothing of the search for a connection of our own shows but that it reads the header: a packet
    whose first fragment is shorter leaves in other pieces.
    """
    sysctl = net.sysctl
    if not sysctl.get("net.ipv4.ip_early_demux") or not sysctl.get("net.ipv4.tcp_early_demux"):
        return
    octets = skb.transport_offset + TCP_HEADER_LEN
    if skb.pkt_type == PacketType.HOST and len(skb.data) >= octets:
        skb.ensure_writable(octets)


def dst_input(net: Net, skb: Skb) -> None:
    """Hand a routed packet to what its route names."""
    target = route_of(skb).input
    if target == DstInput.LOCAL_DELIVER:
        ip_local_deliver(net, skb)
    elif target == DstInput.FORWARD:
        ip_forward(net, skb)
    elif target == DstInput.ERROR:
        ip_error(net, skb)
    else:
        kfree_skb_reason(net, skb, "NOT_SPECIFIED", "a route for packets of our own")


def ip_local_deliver(net: Net, skb: Skb) -> None:
    """Put fragments together, run INPUT, and give the packet to its protocol."""
    if ip_is_fragment(skb) and not ip_defrag(net, skb, DefragUser.LOCAL_DELIVER):
        return
    nf_hook(
        net,
        Family.IPV4,
        Hook.INPUT,
        skb,
        skb.device,
        None,
        lambda accepted: _ip_local_deliver_finish(net, accepted),
    )


def _ip_local_deliver_finish(net: Net, skb: Skb) -> None:
    protocol = IPv4(skb.data).protocol
    handler = _PROTOCOLS.get(protocol)
    if handler is not None:
        handler(net, skb)
        return
    icmp_send(net, skb, IcmpType.DEST_UNREACH, ICMP_PROT_UNREACH, 0)
    kfree_skb_reason(net, skb, "IP_NOPROTO", f"protocol {protocol}")


def _igmp_rcv(net: Net, skb: Skb) -> None:
    """Take a group membership message; a member of 224.0.0.1 alone never reports."""
    message = skb.data[skb.transport_offset :]
    if len(message) < 8 or internet_checksum(message):
        kfree_skb_reason(net, skb, "NOT_SPECIFIED", "bad IGMP message")
    else:
        consume_skb(net, skb, "igmp")


def _pim_rcv(net: Net, skb: Skb) -> None:
    """Drop PIM, as a kernel does that routes no multicast."""
    kfree_skb_reason(net, skb, "NOT_SPECIFIED", "no multicast routing")


_PROTOCOLS: dict[int, Callable[[Net, Skb], None]] = {
    IPPROTO_ICMP: icmp_rcv,
    IPPROTO_IGMP: _igmp_rcv,
    IPPROTO_TCP: tcp_v4_rcv,
    IPPROTO_UDP: udp_rcv,
    IPPROTO_PIM: _pim_rcv,
    IPPROTO_UDPLITE: udp_rcv,
}
"""Who takes which protocol (inet_protos)."""
