"""Connections that a program opens: the SYN, its repetition, and what answers it.

Kernel: net/ipv4/tcp_ipv4.c (tcp_v4_connect), net/ipv4/inet_hashtables.c (__inet_hash_connect),
net/ipv4/tcp_output.c (tcp_connect), net/ipv4/tcp_timer.c (tcp_retransmit_timer),
net/ipv4/tcp_input.c (tcp_rcv_synsent_state_process).

Differs from Linux: ports are drawn at random, there by a hash of the destination; two ends that
open one connection at the same time (simultaneous open) do not find together.
"""

from __future__ import annotations

from netemu.clock import NSEC_PER_SEC
from netemu.ip.fib_table import Errno
from netemu.ip.route import ip_route_output_key
from netemu.ip.rtable import ip_dst_mtu_maybe_forward
from netemu.ip.sockets import Sockets
from netemu.ip.tcp_acks import TCP_MSS_DEFAULT
from netemu.ip.tcp_end import open_end
from netemu.ip.tcp_listen import TcpConnections, tcp_rmem
from netemu.ip.tcp_options import synack_options
from netemu.ip.tcp_output import reply_key, tcp_send_ack, tcp_transmit, timestamp_of
from netemu.ip.tcp_program import Connection, TcpProgram
from netemu.ip.tcp_segment import TAKEN, Outcome, Segment
from netemu.ip.tcp_sock import (
    MASK32,
    TcpSock,
    TcpState,
)
from netemu.ip.tcp_window import ReceiveWindow, initial_window, initial_window_scale
from netemu.net import Net
from netemu.wire.address import IPV4_ANY
from netemu.wire.ipv4 import IPPROTO_TCP, MIN_HEADER_LEN
from netemu.wire.tcp import MIN_HEADER_LEN as TCP_HEADER_LEN
from netemu.wire.tcp import Flag

SYN_RETRIES = 6
"""So often a SYN is sent again with doubled pauses (tcp_syn_retries)."""

SYN_LINEAR_TIMEOUTS = {"6.1": 0, "6.18": 4}
"""So many pauses before that are not doubled (tcp_syn_linear_timeouts), by kernel profile."""


def tcp_connect(
    net: Net,
    program: TcpProgram,
    remote: bytes,
    port: int,
    *,
    local: bytes = IPV4_ANY,
    local_port: int = 0,
) -> Connection | str:
    """Open a connection for a program; an errno's name when that fails at once."""
    local_port = local_port or net.generic(Sockets).ephemeral_port(net, IPPROTO_TCP)
    flow = reply_key(remote, port, local, local_port)
    route = ip_route_output_key(net, flow)
    if isinstance(route, Errno):
        return str(route)
    rcvbuf, largest = tcp_rmem(net)
    mss = ip_dst_mtu_maybe_forward(route) - MIN_HEADER_LEN - TCP_HEADER_LEN
    random = net.entropy.stream("tcp")
    enabled = net.sysctl.get
    sock = TcpSock(
        local=flow.saddr,
        remote=remote,
        local_port=local_port,
        remote_port=port,
        isn=net.entropy.stream("isn").u32(),
        peer_isn=0,
        rcv_nxt=0,
        rcv=ReceiveWindow(
            rcvbuf=rcvbuf,
            largest=largest,
            window=initial_window(rcvbuf, mss),
            scale=(
                initial_window_scale(rcvbuf, largest)
                if enabled("net.ipv4.tcp_window_scaling")
                else None
            ),
        ),
        mss=mss,
        sack=bool(enabled("net.ipv4.tcp_sack")),
        ecn=False,
        timestamps=bool(enabled("net.ipv4.tcp_timestamps")),
        ts_offset=random.u32(),
        ts_recent=0,
        ip_id=random.u16(),
        state=TcpState.SYN_SENT,
        opened_ns=net.clock.now_ns,
    )
    connections = net.generic(TcpConnections)
    key = (sock.remote, sock.remote_port, sock.local, sock.local_port)
    if key in connections.socks:
        return "EADDRNOTAVAIL"
    sock.program = open_end(net, connections, sock, program)
    connections.socks[key] = sock
    _send_syn(net, sock)
    _arm(net, connections, sock)
    net.clock.run_soon()
    return sock.program.connection


def _send_syn(net: Net, sock: TcpSock) -> None:
    options = synack_options(
        mss=sock.mss,
        sack=sock.sack,
        timestamp=timestamp_of(net, sock),
        window_scale=sock.rcv.scale,
    )
    identification = sock.ip_id
    sock.ip_id = (identification + 1) & 0xFFFF
    tcp_transmit(
        net,
        sock,
        None,
        "tcp syn",
        flags=int(Flag.SYN),
        seq=sock.isn,
        window=sock.rcv.window,
        options=options,
        identification=identification,
    )


def _arm(net: Net, connections: TcpConnections, sock: TcpSock) -> None:
    linear = SYN_LINEAR_TIMEOUTS.get(net.kernel, SYN_LINEAR_TIMEOUTS["6.18"])
    pause = NSEC_PER_SEC << max(sock.retries - linear, 0)

    def expired() -> None:
        sock.timer = None
        if sock.retries >= SYN_RETRIES + linear:
            connections.fail(sock, "ETIMEDOUT")
            return
        sock.retries += 1
        _send_syn(net, sock)
        _arm(net, connections, sock)

    sock.timer = net.clock.add_timer(pause, expired)


def tcp_rcv_synsent(net: Net, sock: TcpSock, segment: Segment) -> Outcome:
    """Take what answers our SYN (tcp_rcv_synsent_state_process)."""
    connections = net.generic(TcpConnections)
    flags = segment.flags
    if flags & Flag.ACK and segment.ack != (sock.isn + 1) & MASK32:
        return Outcome("TCP_INVALID_ACK_SEQUENCE", reset=True)
    if flags & Flag.RST:
        if not flags & Flag.ACK:
            return Outcome("TCP_RESET")
        connections.fail(sock, "ECONNREFUSED")
        return TAKEN
    if not flags & Flag.SYN:
        return Outcome("TCP_FLAGS")
    if not flags & Flag.ACK:
        return Outcome("TCP_FLAGS")
    _agree(sock, segment)
    sock.cancel_timer()
    connections.establish(sock, segment)
    tcp_send_ack(net, sock, segment.skb.fate)
    return TAKEN


def _agree(sock: TcpSock, segment: Segment) -> None:
    """Keep of what we offered what the peer takes up."""
    offer = segment.options
    sock.peer_isn = segment.seq
    sock.start_at((segment.seq + 1) & MASK32)
    sock.peer_mss = offer.mss or TCP_MSS_DEFAULT
    if offer.window_scale is None:
        sock.rcv.scale = None
    else:
        sock.peer_scale = offer.window_scale if sock.rcv.scale is not None else 0
    sock.sack = sock.early.sack = sock.sack and offer.sack_permitted
    sock.timestamps = sock.timestamps and offer.timestamp is not None
    if offer.timestamp is not None:
        sock.ts_recent = offer.timestamp[0]
