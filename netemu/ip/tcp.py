"""TCP for us: a listener answers, whatever else gets a RST.

Kernel: net/ipv4/tcp_ipv4.c (tcp_v4_rcv, tcp_v4_send_reset). RFC 9293.
"""

from __future__ import annotations

from netemu.ip.fib_table import RouteType
from netemu.ip.output import route_of
from netemu.ip.sockets import AssignedSocket, ProgramSocket, Sockets
from netemu.ip.tcp_connect import tcp_rcv_synsent
from netemu.ip.tcp_listen import TcpConnections
from netemu.ip.tcp_segment import Outcome, read_segment
from netemu.ip.tcp_sock import TcpState, before
from netemu.ip.unicast_reply import ip_send_unicast_reply
from netemu.net import Net, consume_skb, kfree_skb_reason
from netemu.skb import Checksum, PacketType, Skb
from netemu.wire.checksum import internet_checksum, pseudo_header_sum
from netemu.wire.ipv4 import IPPROTO_TCP, IPv4
from netemu.wire.tcp import MIN_HEADER_LEN, TCP, Flag, build_tcp


def tcp_v4_rcv(net: Net, skb: Skb) -> None:
    """Take a segment."""
    reason = _check_segment(skb)
    if reason:
        kfree_skb_reason(net, skb, reason)
        return
    header = IPv4(skb.data)
    port = TCP(skb.data, header.header_len).dst_port
    device = skb.device
    assert device is not None
    assigned = isinstance(skb.sk, AssignedSocket)
    listening = assigned or net.generic(Sockets).lookup("tcp", header.dst, port, device)
    outcome = tcp_socket_rcv(net, skb, listening=listening)
    if outcome is None:
        tcp_v4_send_reset(net, skb)
        kfree_skb_reason(net, skb, "NO_SOCKET", f"nobody listens on tcp port {port}")
        return
    if outcome.reset:
        # A listener's RST is its own packet, so LOG knows the owner; an open connection that no
        # program accepted has none.
        tcp_v4_send_reset(net, skb, outcome.sock or ProgramSocket())
    if outcome.reason:
        kfree_skb_reason(net, skb, outcome.reason, f"refused by the socket on tcp port {port}")
    else:
        consume_skb(net, skb, f"tcp socket :{port}")


def _check_segment(skb: Skb) -> str:
    """Return why the segment cannot be used, or empty."""
    if skb.pkt_type != PacketType.HOST:
        return "NOT_SPECIFIED"
    start = skb.transport_offset
    length = len(skb.data) - start
    if length < MIN_HEADER_LEN:
        return "NOT_SPECIFIED"
    segment = TCP(skb.data, start)
    if segment.data_offset < MIN_HEADER_LEN:
        return "PKT_TOO_SMALL"
    if segment.data_offset > length:
        return "NOT_SPECIFIED"
    if skb.ip_summed in {Checksum.UNNECESSARY, Checksum.PARTIAL}:
        return ""
    header = IPv4(skb.data)
    pseudo = pseudo_header_sum(header.src, header.dst, IPPROTO_TCP, length)
    return "TCP_CSUM" if internet_checksum(skb.data[start:], pseudo) else ""


def tcp_socket_rcv(net: Net, skb: Skb, *, listening: bool) -> Outcome | None:
    """Give a checked segment to its connection or to a listener; None when there is neither."""
    connections = net.generic(TcpConnections)
    sock = connections.find(skb)
    if sock is None and not listening:
        return None
    # nf_reset_ct: what is answered is looked up as any other packet.
    skb.nfct = None
    skb.ctinfo = 0
    segment = read_segment(skb)
    if sock is not None and sock.state == TcpState.TIME_WAIT and listening:
        opens = segment.flags & (Flag.SYN | Flag.ACK | Flag.RST) == Flag.SYN
        if opens and before(sock.queue.end, segment.seq):
            # A new connection between the same ends (tcp_timewait_state_process).
            connections.remove(sock)
            sock = None
    if sock is None:
        return connections.listen(segment)
    if sock.state == TcpState.SYN_SENT:
        return tcp_rcv_synsent(net, sock, segment)
    return connections.receive(sock, segment)


def tcp_v4_send_reset(net: Net, skb: Skb, sk: object | None = None) -> None:
    """Answer a segment with a RST (RFC 9293 section 3.5.2); `sk` is the socket that refused it."""
    flags = TCP(skb.data, skb.transport_offset).flags
    if not flags & Flag.RST and route_of(skb).kind == RouteType.LOCAL:
        ip_send_unicast_reply(net, skb, reset_segment(skb), "tcp rst", sk)


def reset_segment(skb: Skb) -> bytearray:
    """Return the RST that answers a segment (RFC 9293 section 3.10.7.1)."""
    header = IPv4(skb.data)
    segment = TCP(skb.data, header.header_len)
    flags = segment.flags
    seq = ack = 0
    answer_flags = int(Flag.RST)
    if flags & Flag.ACK:
        seq = segment.ack
    else:
        payload_len = len(skb.data) - header.header_len - segment.data_offset
        phantom = bool(flags & Flag.SYN) + bool(flags & Flag.FIN)
        ack = segment.seq + phantom + payload_len
        answer_flags |= Flag.ACK
    return build_tcp(
        src=header.dst,
        dst=header.src,
        src_port=segment.dst_port,
        dst_port=segment.src_port,
        seq=seq,
        ack=ack,
        flags=answer_flags,
    )
