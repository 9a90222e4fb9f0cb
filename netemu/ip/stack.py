"""The IPv4 stack of a namespace, put together.

Kernel: net/ipv4/af_inet.c (inet_init, ip_packet_type).
"""

from __future__ import annotations

from netemu.ip.arp import arp_init
from netemu.ip.datagram import ping_err, ping_rcv, udp_err
from netemu.ip.icmp import icmp_send, ipv4_link_failure
from netemu.ip.input import ip_rcv
from netemu.ip.neighbour import NeighbourTable
from netemu.ip.tcp_err import tcp_v4_err
from netemu.ip.upcall import Upcalls
from netemu.net import Net, kfree_skb_reason
from netemu.skb import ETH_P_IP, ETH_P_IPV6, Skb
from netemu.wire.ipv4 import IPPROTO_ICMP, IPPROTO_UDP


def inet_init(net: Net) -> None:
    """Let the namespace receive IPv4 and ARP, and report errors."""
    upcalls = net.generic(Upcalls)
    upcalls.icmp_send = icmp_send
    upcalls.tcp_err = tcp_v4_err
    upcalls.error_handlers = {IPPROTO_UDP: udp_err, IPPROTO_ICMP: ping_err}
    upcalls.ping_rcv = ping_rcv
    net.generic(NeighbourTable).link_failure = lambda skb: ipv4_link_failure(net, skb)
    net.packet_handlers[ETH_P_IP] = lambda skb: ip_rcv(net, skb)
    arp_init(net)
    net.packet_handlers[ETH_P_IPV6] = lambda skb: _ipv6_rcv(net, skb)


def _ipv6_rcv(net: Net, skb: Skb) -> None:
    """Drop IPv6, as a kernel with disable_ipv6=1 does."""
    kfree_skb_reason(net, skb, "IPV6DISABLED", "netemu does not emulate IPv6 yet")
