"""A segment straight back to where a packet came from, without a connection behind it.

Kernel: net/ipv4/ip_output.c (ip_send_unicast_reply).
"""

from __future__ import annotations

from netemu.ip.fib_table import Errno, Flowi4
from netemu.ip.icmp import ip4_reply_mark
from netemu.ip.options_echo import ip_options_build, ip_options_echo
from netemu.ip.output import ip_local_out, ip_select_ttl
from netemu.ip.route import ip_route_output_key
from netemu.ip.sockets import CONTROL_SOCKET
from netemu.net import Net, skb_made
from netemu.skb import ETH_P_IP, Skb
from netemu.wire.ipv4 import IPPROTO_TCP, IPv4, build_ipv4
from netemu.wire.tcp import TCP


def ip_send_unicast_reply(
    net: Net, skb: Skb, segment: bytearray, what: str, sk: object | None
) -> None:
    """Send a segment back to where `skb` came from: DF, id 0, its TOS, its options turned round."""
    header = IPv4(skb.data)
    options = ip_options_echo(net, skb)
    if options is None:
        return
    mark = ip4_reply_mark(net, skb)
    flow = Flowi4(
        daddr=options.first_hop or header.src,
        saddr=header.dst,
        mark=mark,
        tos=header.tos,
        protocol=IPPROTO_TCP,
        src_port=TCP(segment).src_port,
        dst_port=TCP(segment).dst_port,
    )
    route = ip_route_output_key(net, flow, skb)
    if isinstance(route, Errno):
        return
    packet = build_ipv4(
        src=flow.saddr,
        dst=flow.daddr,
        protocol=IPPROTO_TCP,
        payload=segment,
        ttl=ip_select_ttl(net, route),
        tos=header.tos & 0xFC,
        dont_fragment=True,
        options=bytes(options.octets),
    )
    reply = Skb(packet, protocol=ETH_P_IP, fate=net.new_fate(parent=skb.fate))
    if options.octets:
        ip_options_build(net, reply, options, header.src)
    reply.mark = mark
    reply.sk = sk or CONTROL_SOCKET
    reply.dst = route
    skb_made(net, reply, what)
    ip_local_out(net, reply)
