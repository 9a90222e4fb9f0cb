"""Listeners: they answer SYNs, and keep half-open connections until the handshake is done.

Kernel: net/ipv4/tcp_ipv4.c, net/ipv4/tcp_minisocks.c (tcp_check_req), net/ipv4/tcp_input.c
(tcp_conn_request), net/ipv4/inet_connection_sock.c (reqsk_timer_handler).

What Linux 6.18 answers to odd segments was asked of it: see tests/ip/test_tcp_listen.py.
"""

from __future__ import annotations

from collections.abc import Callable

from netemu.clock import NSEC_PER_SEC
from netemu.ip.fib_table import Errno
from netemu.ip.options_echo import ip_options_echo
from netemu.ip.output import route_of
from netemu.ip.route import ip_route_output_key
from netemu.ip.rtable import Rtable, Rtcf, ip_dst_mtu_maybe_forward
from netemu.ip.sockets import AssignedSocket, ProgramSocket, Sockets
from netemu.ip.tcp_acks import TCP_MIN_MSS, TCP_MSS_DEFAULT
from netemu.ip.tcp_end import open_end, wake
from netemu.ip.tcp_input import ABORT_ON_DATA, oow_limited, paws_check, rate_limited, tcp_rcv
from netemu.ip.tcp_options import ack_options, synack_options
from netemu.ip.tcp_output import reply_key, tcp_transmit, timestamp_of
from netemu.ip.tcp_segment import TAKEN, Outcome, Segment
from netemu.ip.tcp_sender import Sender
from netemu.ip.tcp_sock import (
    MASK32,
    TCP_TIMEOUT_INIT_S,
    TcpSock,
    TcpState,
    before,
)
from netemu.ip.tcp_window import ReceiveWindow, initial_window, initial_window_scale
from netemu.ip.unicast_reply import ip_send_unicast_reply
from netemu.net import Net
from netemu.skb import Fate, Skb
from netemu.wire.ipv4 import IPPROTO_TCP, MIN_HEADER_LEN, IPv4
from netemu.wire.tcp import MIN_HEADER_LEN as TCP_HEADER_LEN
from netemu.wire.tcp import TCP, Flag, build_tcp

TCP_RMEM = {"6.1": (131072, 6291456), "6.18": (131072, 33554432)}
"""Default and largest receive buffer (net.ipv4.tcp_rmem) by kernel profile."""


Key = tuple[bytes, int, bytes, int]


class TcpConnections:
    """The connections of a namespace's listeners."""

    __slots__ = ("_net", "secure_tcp_seq", "socks")

    def __init__(self, net: Net) -> None:
        """Start without connections."""
        self._net = net
        self.socks: dict[Key, TcpSock] = {}
        self.secure_tcp_seq: Callable[[Segment], int] = self._draw_isn
        """Chooses our first sequence number for a SYN."""

    def find(self, skb: Skb) -> TcpSock | None:
        """Return the connection that a segment belongs to."""
        return self.socks.get(_key_of(skb))

    def holds(self, sock: TcpSock) -> bool:
        """Return whether a connection is there still."""
        return self.socks.get(_key(sock)) is sock

    def remove(self, sock: TcpSock) -> None:
        """Forget a connection."""
        sock.cancel_timer()
        if sock.rtx_timer is not None:
            sock.rtx_timer.cancel()
            sock.rtx_timer = None
        self.socks.pop(_key(sock), None)
        self._net.generic(Sockets).release_port(IPPROTO_TCP, sock.local_port)

    def fail(self, sock: TcpSock, why: str) -> None:
        """Forget a connection that broke, and tell its program the errno (tcp_done_with_error)."""
        self.remove(sock)
        if sock.program is not None:
            sock.program.failed = why
            wake(self._net, sock)

    def listen(self, segment: Segment) -> Outcome:
        """Let a listener take a segment."""
        flags = segment.flags
        if flags & Flag.ACK:
            return Outcome("TCP_FLAGS", reset=True)
        if flags & Flag.RST:
            return Outcome("TCP_RESET")
        if not flags & Flag.SYN or flags & Flag.FIN:
            return Outcome("TCP_FLAGS")
        return self._conn_request(segment)

    def _draw_isn(self, segment: Segment) -> int:
        return self._net.entropy.stream("isn").u32()

    def _conn_request(self, segment: Segment) -> Outcome:
        """Make a half-open connection and answer (tcp_conn_request)."""
        net, skb = self._net, segment.skb
        if route_of(skb).flags & (Rtcf.BROADCAST | Rtcf.MULTICAST):
            return Outcome("NOT_SPECIFIED")
        header = IPv4(skb.data)
        view = TCP(skb.data, header.header_len)
        flow = reply_key(header.src, view.src_port, header.dst, view.dst_port)
        flow.any_source = isinstance(skb.sk, AssignedSocket)
        route = ip_route_output_key(net, flow, skb)
        if isinstance(route, Errno):
            return Outcome("NOT_SPECIFIED")
        sock = self._new_sock(segment, route)
        self.socks[_key(sock)] = sock
        self._send_synack(sock, skb.fate)
        self._arm(sock, skb.fate)
        return TAKEN

    def _new_sock(self, segment: Segment, route: Rtable) -> TcpSock:
        net, offer = self._net, segment.options
        header = IPv4(segment.skb.data)
        view = TCP(segment.skb.data, header.header_len)
        enabled = net.sysctl.get
        rcvbuf, largest = tcp_rmem(net)
        mss = ip_dst_mtu_maybe_forward(route) - MIN_HEADER_LEN - TCP_HEADER_LEN
        timestamps = offer.timestamp is not None and bool(enabled("net.ipv4.tcp_timestamps"))
        scaling = offer.window_scale is not None and enabled("net.ipv4.tcp_window_scaling")
        window = initial_window(rcvbuf, mss - (12 if timestamps else 0))
        random = net.entropy.stream("tcp")
        return TcpSock(
            local=header.dst,
            remote=header.src,
            transparent=isinstance(segment.skb.sk, AssignedSocket),
            local_port=view.dst_port,
            remote_port=view.src_port,
            isn=self.secure_tcp_seq(segment),
            peer_isn=segment.seq,
            rcv_nxt=(segment.seq + 1) & MASK32,
            rcv=ReceiveWindow(
                rcvbuf=rcvbuf,
                largest=largest,
                window=window,
                scale=initial_window_scale(rcvbuf, largest) if scaling else None,
            ),
            mss=mss,
            sack=offer.sack_permitted and bool(enabled("net.ipv4.tcp_sack")),
            ecn=_ecn_wanted(net, segment, header.tos),
            timestamps=timestamps,
            ts_offset=random.u32(),
            ts_recent=offer.timestamp[0] if offer.timestamp is not None else 0,
            ip_id=random.u16(),
            ip_options=ip_options_echo(net, segment.skb),
            peer_mss=offer.mss or TCP_MSS_DEFAULT,
            peer_scale=(offer.window_scale or 0) if scaling else 0,
            opened_ns=net.clock.now_ns,
        )

    def _arm(self, sock: TcpSock, cause: Fate) -> None:
        """Set the timer of a half-open connection: 1 s, then twice as long each time."""
        sock.cancel_timer()
        delay = (TCP_TIMEOUT_INIT_S << sock.retries) * NSEC_PER_SEC
        clock = self._net.clock
        sock.timer = clock.add_timer(delay, lambda: self._retransmit(sock, cause), pinned=True)

    def _retransmit(self, sock: TcpSock, cause: Fate) -> None:
        if sock.retries >= self._net.sysctl.get("net.ipv4.tcp_synack_retries"):
            self.remove(sock)
            return
        if not self._resend_synack(sock, cause):
            self.remove(sock)
            return
        sock.retries += 1
        self._arm(sock, cause)

    def _resend_synack(self, sock: TcpSock, cause: Fate) -> bool:
        """Send the SYN/ACK once more (tcp_rtx_synack); False when it cannot leave."""
        left = self._send_synack(sock, cause)
        sock.resent |= left
        return left

    def receive(self, sock: TcpSock, segment: Segment) -> Outcome:
        """Let a connection take a segment."""
        if sock.state == TcpState.SYN_RECV:
            outcome = self._check_req(sock, segment)
            if outcome is not None:
                return outcome
        reason = tcp_rcv(self._net, self, sock, segment)
        return Outcome(reason, reset=reason == ABORT_ON_DATA, sock=sock)

    def _check_req(self, sock: TcpSock, segment: Segment) -> Outcome | None:
        """Judge what arrives on a half-open connection; None once it is open (tcp_check_req)."""
        flags = segment.flags & (Flag.SYN | Flag.ACK | Flag.RST)
        cause = segment.skb.fate
        fresh = self._is_fresh(segment, sock.ts_recent)
        if segment.seq == sock.peer_isn and flags == Flag.SYN and fresh:
            if not rate_limited(self._net, sock, segment) and self._resend_synack(sock, cause):
                self._arm(sock, cause)
            return Outcome("NOT_SPECIFIED")
        in_window = (
            fresh
            and not _echoes_another(sock, segment)
            and sock.in_window(segment.seq, segment.end_seq)
        )
        if flags & Flag.RST and in_window:
            # RFC 5961 section 3.2: only the exact number ends it, whatever is acknowledged.
            if segment.seq == sock.queue.end:
                self.remove(sock)
            elif not oow_limited(self._net, sock):
                self._send_request_ack(sock, segment)
            return Outcome("NOT_SPECIFIED")
        if flags & Flag.ACK and segment.ack != (sock.isn + 1) & MASK32:
            return Outcome("TCP_FLAGS", reset=True)
        if not in_window:
            if not flags & Flag.RST and not rate_limited(self._net, sock, segment):
                self._send_request_ack(sock, segment)
            return Outcome("TCP_OVERWINDOW")
        if segment.seq == sock.peer_isn:
            flags &= ~Flag.SYN
        if flags & Flag.SYN:
            self.remove(sock)
            return Outcome("NOT_SPECIFIED", reset=True)
        if not flags & Flag.ACK:
            return Outcome("NOT_SPECIFIED")
        sock.last_oow_ack = None
        sock.cancel_timer()
        if segment.options.timestamp is not None and not before(sock.queue.end, segment.seq):
            sock.ts_recent = segment.options.timestamp[0]
        self.establish(sock, segment)
        return None

    def establish(self, sock: TcpSock, segment: Segment) -> None:
        """Open a connection: both ends have said their first numbers (tcp_init_transfer)."""
        net = self._net
        sock.state = TcpState.ESTABLISHED
        sock.confirms = True
        sock.acks.last_data = net.clock.jiffies
        first = (sock.isn + 1) & MASK32
        payload = min(sock.peer_mss, sock.mss) - (12 if sock.timestamps else 0)
        scale = 0 if segment.flags & Flag.SYN else sock.peer_scale
        sock.out = Sender(una=first, nxt=first, window=segment.window << scale, mss=payload)
        sock.max_window, sock.snd_wl1 = sock.out.window, segment.seq
        sock.rcv.begin(sock.advmss)
        half = half_window(payload, sock.max_window, sock.header_len)
        sock.acks.rcv_mss = max(min(half, sock.rcv.window // 2, TCP_MSS_DEFAULT), TCP_MIN_MSS)
        sock.predict()
        if not sock.retries and not sock.resent:
            sock.out.measure(net.clock.now_ns - sock.opened_ns)
        if sock.program is None:
            found = net.generic(Sockets).program_of("tcp", sock.local, sock.local_port)
            if found is not None:
                sock.program = open_end(net, self, sock, found[1].accept())
        wake(net, sock)

    def _is_fresh(self, segment: Segment, recent: int) -> bool:
        """Return whether a half-open connection's segment is not older than its SYN."""
        heeded = self._net.sysctl.get("net.ipv4.tcp_timestamps")
        return not heeded or paws_check(recent, segment.options)

    def _send_synack(self, sock: TcpSock, cause: Fate) -> bool:
        flags = Flag.SYN | Flag.ACK | (Flag.ECE if sock.ecn else 0)
        stamp = timestamp_of(self._net, sock)
        if stamp is not None:
            first, _ = sock.synack_stamps or (stamp[0], 0)
            sock.synack_stamps = first, stamp[0]
        options = synack_options(
            mss=sock.mss,
            sack=sock.sack,
            timestamp=stamp,
            window_scale=sock.rcv.scale,
        )
        return tcp_transmit(
            self._net,
            sock,
            cause,
            "tcp syn/ack",
            flags=int(flags),
            seq=sock.isn,
            window=sock.rcv.window,
            options=options,
            identification=0,
        )

    def _send_request_ack(self, sock: TcpSock, segment: Segment) -> None:
        """Acknowledge for a half-open connection (tcp_v4_reqsk_send_ack)."""
        stamp = timestamp_of(self._net, sock)
        answer = build_tcp(
            src=sock.local,
            dst=sock.remote,
            src_port=sock.local_port,
            dst_port=sock.remote_port,
            seq=(sock.isn + 1) & MASK32,
            ack=sock.queue.end,
            flags=int(Flag.ACK),
            window=sock.rcv.window >> (sock.rcv.scale or 0),
            options=ack_options(timestamp=stamp if sock.ts_recent else None, sack_blocks=[]),
        )
        # The listener sends it, so LOG knows its owner; an open connection that no program
        # accepted has none.
        ip_send_unicast_reply(self._net, segment.skb, answer, "tcp ack", ProgramSocket())


def half_window(mss: int, window: int, header_len: int) -> int:
    """Return the largest segment that the peer's window has room for twice.

    Kernel: tcp_bound_to_half_wnd.

    >>> [half_window(1460, window, 20) for window in (64240, 2000, 500, 1, 0)]
    [1460, 1000, 500, 48, 1460]
    """
    most = window // 2 if window > TCP_MSS_DEFAULT else window
    return max(most, LEAST_PACKET - header_len) if most and mss > most else mss


LEAST_PACKET = 68
"""Least MTU of IPv4 (RFC 791)."""


def tcp_rmem(net: Net) -> tuple[int, int]:
    """Return the default and the largest receive buffer, octets (net.ipv4.tcp_rmem)."""
    words = net.sysctl.values.get("net.ipv4.tcp_rmem", "").split()
    if len(words) == 3:
        return int(words[1]), int(words[2])
    return TCP_RMEM.get(net.kernel, TCP_RMEM["6.18"])


def _echoes_another(sock: TcpSock, segment: Segment) -> bool:
    """Return whether the echoed time stamp is none of our SYN/ACKs' (tsecr_reject)."""
    stamp = segment.options.timestamp
    if stamp is None or not stamp[1] or sock.synack_stamps is None:
        return False
    first, last = sock.synack_stamps
    return (stamp[1] - first) & MASK32 > (last - first) & MASK32


def _ecn_wanted(net: Net, segment: Segment, tos: int) -> bool:
    """Return whether to agree to ECN (tcp_ecn_create_request)."""
    asked = segment.flags & (Flag.ECE | Flag.CWR) == Flag.ECE | Flag.CWR
    return asked and not tos & 3 and bool(net.sysctl.get("net.ipv4.tcp_ecn"))


def _key(sock: TcpSock) -> Key:
    return sock.remote, sock.remote_port, sock.local, sock.local_port


def _key_of(skb: Skb) -> Key:
    header = IPv4(skb.data)
    view = TCP(skb.data, header.header_len)
    return header.src, view.src_port, header.dst, view.dst_port
