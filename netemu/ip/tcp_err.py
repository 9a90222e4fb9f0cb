"""ICMP errors about segments of the node's own connections.

Kernel: net/ipv4/tcp_ipv4.c (tcp_v4_err, tcp_req_err, tcp_v4_mtu_reduced).
"""

from __future__ import annotations

from netemu.ip.fib_table import Flowi4
from netemu.ip.learn import ipv4_redirect, ipv4_update_pmtu
from netemu.ip.tcp_listen import TcpConnections
from netemu.ip.tcp_sock import MASK32, TcpSock, TcpState
from netemu.net import Net
from netemu.skb import Skb
from netemu.wire.fields import get16, get32
from netemu.wire.icmp import IcmpType, icmp_errno
from netemu.wire.ipv4 import IPPROTO_TCP, IPv4

NET_UNREACH, HOST_UNREACH, FRAG_NEEDED = 0, 1, 4
"""Codes of ICMP type 3 (RFC 792)."""


def tcp_v4_err(net: Net, skb: Skb, quoted: bytearray, info: int) -> None:
    """Let the connection that sent the quoted segment know; `info` is a path MTU, if any.

    An error that says "nobody there" ends a half-open connection, an open one goes on.
    """
    header = IPv4(quoted)
    at = header.header_len
    connections = net.generic(TcpConnections)
    key = header.dst, get16(quoted, at + 2), header.src, get16(quoted, at)
    sock = connections.socks.get(key)
    if sock is None:
        return
    message = skb.data[skb.transport_offset :]
    icmp_type, code = message[0], message[1]
    seq = get32(quoted, at + 4)
    if sock.state == TcpState.SYN_RECV:
        nobody = icmp_type in {IcmpType.PARAMETER_PROBLEM, IcmpType.TIME_EXCEEDED}
        nobody |= icmp_type == IcmpType.DEST_UNREACH and code in {NET_UNREACH, HOST_UNREACH}
        if seq == sock.isn and nobody:
            connections.remove(sock)
    elif sock.state == TcpState.SYN_SENT:
        errno = icmp_errno(message)
        if seq == sock.isn and errno:
            connections.fail(sock, errno)
    elif seq == (sock.isn + 1) & MASK32:
        # Nothing that we sent is unacknowledged: it is about an ACK.
        _learn(net, skb, sock, bytes(message[4:8]), info)


def _learn(net: Net, skb: Skb, sock: TcpSock, gateway: bytes, info: int) -> None:
    message = skb.data[skb.transport_offset :]
    flow = Flowi4(daddr=sock.remote, saddr=sock.local, protocol=IPPROTO_TCP)
    if message[0] == IcmpType.REDIRECT:
        ipv4_redirect(net, flow, skb, gateway)
    elif message[0] == IcmpType.DEST_UNREACH and message[1] == FRAG_NEEDED:
        ipv4_update_pmtu(net, flow, info)
