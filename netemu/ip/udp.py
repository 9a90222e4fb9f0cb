"""UDP for us: checked, handed to a socket, or answered by "port unreachable".

Kernel: net/ipv4/udp.c (__udp4_lib_rcv). RFC 768, RFC 3828 (UDP-Lite), RFC 1122 section 4.1.
"""

from __future__ import annotations

from netemu.ip.datagram import Waiters, udp_sendmsg
from netemu.ip.icmp import icmp_send
from netemu.ip.output import route_of
from netemu.ip.rtable import Rtcf
from netemu.ip.sockets import AssignedSocket, Sockets
from netemu.ip.udp_tunnel import UdpTunnels
from netemu.net import Net, consume_skb, kfree_skb_reason
from netemu.skb import Checksum, Skb
from netemu.wire.checksum import internet_checksum, pseudo_header_sum
from netemu.wire.icmp import IcmpType
from netemu.wire.ipv4 import IPPROTO_UDP, IPPROTO_UDPLITE, IPv4
from netemu.wire.udp import HEADER_LEN, UDP

ICMP_PORT_UNREACH = 3
"""Code of destination unreachable (RFC 792)."""


def udp_rcv(net: Net, skb: Skb) -> None:
    """Take a UDP or UDP-Lite datagram."""
    header = IPv4(skb.data)
    start = header.header_len
    available = len(skb.data) - start
    if available < HEADER_LEN:
        kfree_skb_reason(net, skb, "NOT_SPECIFIED", "shorter than a UDP header")
        return
    datagram = UDP(skb.data, start)
    lite = header.protocol == IPPROTO_UDPLITE
    length = datagram.length
    if length > available or (not lite and length < HEADER_LEN):
        kfree_skb_reason(net, skb, "PKT_TOO_SMALL", "the length field is wrong")
        return
    if not lite:
        del skb.data[start + length :]
    if not (_udplite_checksum_ok(skb) if lite else _checksum_ok(skb)):
        kfree_skb_reason(net, skb, "UDP_CSUM")
        return
    device = skb.device
    assert device is not None
    port = datagram.dst_port
    tunnel = None if lite else net.generic(UdpTunnels).receivers.get(port)
    if tunnel is not None:
        tunnel(skb)
        return
    protocol = "udplite" if lite else "udp"
    assigned = isinstance(skb.sk, AssignedSocket)
    if assigned or net.generic(Sockets).lookup(protocol, header.dst, port, device):
        consume_skb(net, skb, f"{protocol} socket :{port}")
        _give_to_program(net, protocol, skb, datagram)
        return
    source, source_port = header.src, datagram.src_port
    waiter = None if lite else net.generic(Waiters).find_udp(port, source, source_port)
    if waiter is not None:
        payload = bytes(skb.data[start + HEADER_LEN :])
        consume_skb(net, skb, f"udp socket :{port}")
        net.clock.call_later(0, lambda: waiter.answered(source, source_port, payload))
        return
    if route_of(skb).flags & (Rtcf.BROADCAST | Rtcf.MULTICAST):
        kfree_skb_reason(net, skb, "NOT_SPECIFIED", f"nobody listens on {protocol} port {port}")
        return
    # nf_reset_ct: the error is no part of the packet's connection, it is looked up as any other.
    skb.nfct = None
    skb.ctinfo = 0
    icmp_send(net, skb, IcmpType.DEST_UNREACH, ICMP_PORT_UNREACH, 0)
    kfree_skb_reason(net, skb, "NO_SOCKET", f"nobody listens on {protocol} port {port}")


def _give_to_program(net: Net, protocol: str, skb: Skb, datagram: UDP) -> None:
    """Let the socket's program answer, if it is known, once the softirqs are done."""
    header = IPv4(skb.data)
    found = net.generic(Sockets).program_of(protocol, header.dst, datagram.dst_port)
    if found is None:
        return
    bound, program = found
    source, source_port, port = header.src, datagram.src_port, datagram.dst_port
    payload = bytes(skb.data[datagram.offset + HEADER_LEN :])

    def run() -> None:
        answer = program.answer(payload, (source, source_port))
        if answer is not None:
            udp_sendmsg(net, answer, remote=source, port=source_port, local=bound, local_port=port)

    net.clock.call_later(0, run)


def _checksum_ok(skb: Skb) -> bool:
    header = IPv4(skb.data)
    start = header.header_len
    if skb.ip_summed in {Checksum.UNNECESSARY, Checksum.PARTIAL}:
        return True
    if not UDP(skb.data, start).check:
        return True
    segment = skb.data[start:]
    pseudo = pseudo_header_sum(header.src, header.dst, IPPROTO_UDP, len(segment))
    return not internet_checksum(segment, pseudo)


def _udplite_checksum_ok(skb: Skb) -> bool:
    """Check what the length field says is covered; a checksum of 0 is not allowed."""
    header = IPv4(skb.data)
    start = header.header_len
    datagram = UDP(skb.data, start)
    length = len(skb.data) - start
    coverage = datagram.length or length
    if not datagram.check or not HEADER_LEN <= coverage <= length:
        return False
    pseudo = pseudo_header_sum(header.src, header.dst, IPPROTO_UDPLITE, length)
    return not internet_checksum(skb.data[start : start + coverage], pseudo)
