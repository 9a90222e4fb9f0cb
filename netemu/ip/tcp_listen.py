"""Received segments: SYNs are answered by listeners, connections kept, data acknowledged.

Kernel: net/ipv4/tcp_ipv4.c, net/ipv4/tcp_minisocks.c (tcp_check_req), net/ipv4/tcp_input.c
(tcp_rcv_state_process, tcp_conn_request), net/ipv4/inet_connection_sock.c (reqsk_timer_handler).

What Linux 6.18 answers to odd segments was asked of it: see tests/ip/test_tcp_listen.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from netemu.clock import NSEC_PER_SEC
from netemu.ip.fib_table import Errno
from netemu.ip.options_echo import ip_options_echo
from netemu.ip.output import route_of
from netemu.ip.route import ip_route_output_key
from netemu.ip.rtable import Rtable, Rtcf, ip_dst_mtu_maybe_forward
from netemu.ip.sockets import AssignedSocket, ProgramSocket, Sockets
from netemu.ip.tcp_end import give_up, open_end, wake
from netemu.ip.tcp_options import TcpOptions, ack_options, parse_tcp_options, synack_options
from netemu.ip.tcp_output import (
    arm_retransmission,
    reply_key,
    tcp_push,
    tcp_retransmit,
    tcp_send_ack,
    tcp_send_delayed_ack,
    tcp_transmit,
    timestamp_of,
)
from netemu.ip.tcp_program import ProgramEnd
from netemu.ip.tcp_sender import Sender
from netemu.ip.tcp_sock import (
    INVALID_RATELIMIT_MS,
    MASK32,
    ON_FIN_ACKED,
    TCP_MSS_DEFAULT,
    TCP_TIMEOUT_INIT_S,
    TCP_TIMEWAIT_NS,
    TcpSock,
    TcpState,
    before,
    initial_window,
    initial_window_scale,
)
from netemu.ip.unicast_reply import ip_send_unicast_reply
from netemu.net import Net
from netemu.skb import Fate, Skb
from netemu.wire.ipv4 import IPPROTO_TCP, MIN_HEADER_LEN, IPv4
from netemu.wire.tcp import MIN_HEADER_LEN as TCP_HEADER_LEN
from netemu.wire.tcp import TCP, Flag, build_tcp

TCP_RMEM = {"6.1": (131072, 6291456), "6.18": (131072, 33554432)}
"""Default and largest receive buffer (net.ipv4.tcp_rmem) by kernel profile."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a segment."""

    reason: str = ""
    """Drop reason; empty when the socket took the segment."""
    reset: bool = False
    """The segment is answered with a RST."""
    sock: TcpSock | None = None
    """The open connection that sends it; None: the listener does."""


TAKEN = Outcome()

ABORT_ON_DATA = "TCP_ABORT_ON_DATA"
"""Drop reason of data behind a FIN; the connection is reset."""

Key = tuple[bytes, int, bytes, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A received segment, taken apart."""

    skb: Skb
    flags: int
    seq: int
    end_seq: int
    """Behind data, SYN and FIN."""
    ack: int
    window: int
    """As it stands there, unscaled."""
    payload: bytes
    options: TcpOptions


def read_segment(skb: Skb) -> Segment:
    """Take a checked segment apart (tcp_v4_fill_cb)."""
    start = skb.transport_offset
    view = TCP(skb.data, start)
    length = len(skb.data) - start - view.data_offset
    length += bool(view.flags & Flag.SYN) + bool(view.flags & Flag.FIN)
    return Segment(
        skb=skb,
        flags=view.flags,
        seq=view.seq,
        end_seq=(view.seq + length) & MASK32,
        ack=view.ack,
        window=view.window,
        payload=bytes(skb.data[start + view.data_offset :]),
        options=parse_tcp_options(view.options),
    )


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
        rcv_nxt = (segment.seq + 1) & MASK32
        random = net.entropy.stream("tcp")
        return TcpSock(
            local=header.dst,
            remote=header.src,
            transparent=isinstance(segment.skb.sk, AssignedSocket),
            local_port=view.dst_port,
            remote_port=view.src_port,
            isn=self.secure_tcp_seq(segment),
            peer_isn=segment.seq,
            rcv_nxt=rcv_nxt,
            rcv_wup=rcv_nxt,
            window=window,
            window_edge=(rcv_nxt + window) & MASK32,
            mss=mss,
            window_scale=initial_window_scale(rcvbuf, largest) if scaling else None,
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
        reason = self._established(sock, segment)
        return Outcome(reason, reset=reason == ABORT_ON_DATA, sock=sock)

    def _check_req(self, sock: TcpSock, segment: Segment) -> Outcome | None:
        """Judge what arrives on a half-open connection; None once it is open (tcp_check_req)."""
        flags = segment.flags & (Flag.SYN | Flag.ACK | Flag.RST)
        cause = segment.skb.fate
        if segment.seq == sock.peer_isn and flags == Flag.SYN:
            if not self._rate_limited(sock, segment) and self._resend_synack(sock, cause):
                self._arm(sock, cause)
            return Outcome("NOT_SPECIFIED")
        in_window = sock.in_window(segment.seq, segment.end_seq)
        if flags & Flag.RST and in_window:
            # RFC 5961 section 3.2: only the exact number ends it, whatever is acknowledged.
            if segment.seq == sock.rcv_nxt:
                self.remove(sock)
            elif not self._rate_limited(sock, segment):
                self._send_request_ack(sock, segment)
            return Outcome("NOT_SPECIFIED")
        if flags & Flag.ACK and segment.ack != (sock.isn + 1) & MASK32:
            return Outcome("TCP_FLAGS", reset=True)
        if not in_window:
            if not flags & Flag.RST and not self._rate_limited(sock, segment):
                self._send_request_ack(sock, segment)
            return Outcome("TCP_OVERWINDOW")
        if segment.seq == sock.peer_isn:
            flags &= ~Flag.SYN
        if flags & Flag.SYN:
            self.remove(sock)
            return Outcome("NOT_SPECIFIED", reset=True)
        if not flags & Flag.ACK:
            return Outcome("NOT_SPECIFIED")
        sock.last_oow_ack_ns = None
        sock.cancel_timer()
        self.establish(sock, segment)
        return None

    def establish(self, sock: TcpSock, segment: Segment) -> None:
        """Open a connection: both ends have said their first numbers (tcp_init_transfer)."""
        net = self._net
        sock.state = TcpState.ESTABLISHED
        sock.confirms = True
        sock.last_data_ns = net.clock.now_ns
        first = (sock.isn + 1) & MASK32
        payload = min(sock.peer_mss, sock.mss) - (12 if sock.timestamps else 0)
        scale = 0 if segment.flags & Flag.SYN else sock.peer_scale
        sock.out = Sender(una=first, nxt=first, window=segment.window << scale, mss=payload)
        if not sock.retries and not sock.resent:
            sock.out.measure(net.clock.now_ns - sock.opened_ns)
        if sock.program is None:
            found = net.generic(Sockets).program_of("tcp", sock.local, sock.local_port)
            if found is not None:
                sock.program = open_end(net, self, sock, found[1].accept())
        wake(net, sock)

    def _established(self, sock: TcpSock, segment: Segment) -> str:
        """Take a segment of a connection; a drop reason, or empty (tcp_rcv_established)."""
        flags = segment.flags
        if not flags & (Flag.ACK | Flag.RST | Flag.SYN):
            return "TCP_FLAGS"
        refused = self._validate_incoming(sock, segment)
        if refused or flags & Flag.RST:
            return refused
        refused = self._ack(sock, segment)
        if refused:
            self._challenge(sock, segment)
            return refused
        stamp = segment.options.timestamp
        if stamp is not None and not before(sock.rcv_nxt, segment.seq):
            sock.ts_recent = stamp[0]
        reason = self._data(sock, segment)
        if sock.out is not None and _key(sock) in self.socks:
            tcp_push(self._net, sock, lambda: give_up(self, sock))
        return reason

    def _validate_incoming(self, sock: TcpSock, segment: Segment) -> str:
        """Check time stamp, sequence, RST and SYN (tcp_validate_incoming, RFC 5961)."""
        flags = segment.flags
        refused = self._out_of_place(sock, segment)
        if refused and not flags & Flag.SYN:
            if not flags & Flag.RST:
                self._send_dupack(sock, segment)
            elif sock.accepts_late_rst(segment.seq):
                self._reset(sock)
                return ""
            return refused
        if flags & Flag.RST:
            if sock.accepts_rst(segment.seq):
                self._reset(sock)
                return ""
            self._challenge(sock, segment)
            return "TCP_RESET"
        if flags & Flag.SYN:
            self._challenge(sock, segment)
            return "TCP_INVALID_SYN"
        return ""

    def _out_of_place(self, sock: TcpSock, segment: Segment) -> str:
        """Return why time stamp or sequence are out of place, or empty (tcp_sequence)."""
        stamp = segment.options.timestamp
        old = stamp is not None and before(stamp[0], sock.ts_recent)
        if sock.timestamps and old and not segment.flags & Flag.RST:
            return "TCP_RFC7323_PAWS"
        if before(segment.end_seq, sock.rcv_wup):
            return "TCP_OLD_SEQUENCE"
        return "TCP_INVALID_SEQUENCE" if before(sock.window_edge, segment.seq) else ""

    def _reset(self, sock: TcpSock) -> None:
        """End a connection by the peer's RST (tcp_reset)."""
        self.fail(sock, "EPIPE" if sock.state == TcpState.CLOSE_WAIT else "ECONNRESET")

    def _ack(self, sock: TcpSock, segment: Segment) -> str:
        """Take the acknowledgement; what is wrong with it, or empty (tcp_ack)."""
        out = sock.out
        assert out is not None
        if before(out.nxt, segment.ack):
            return "TCP_ACK_UNSENT_DATA"
        if before(segment.ack, out.una):
            oldest = (out.una - min(out.window, out.acked)) & MASK32
            return "TCP_TOO_OLD_ACK" if before(segment.ack, oldest) else ""
        window = segment.window << sock.peer_scale
        if segment.ack == out.una:
            silent = segment.seq == segment.end_seq and window == out.window
            out.window = window
            sock.confirms |= silent
            if silent and out.in_flight:
                tcp_retransmit(self._net, sock, out.duplicate())
            return ""
        sock.confirms = True
        out.window = window
        finished = out.acknowledge(segment.ack, self._net.clock.now_ns)
        tcp_retransmit(self._net, sock, out.next_hole())
        arm_retransmission(self._net, sock, lambda: give_up(self, sock))
        if finished:
            self._fin_acked(sock)
        return ""

    def _fin_acked(self, sock: TcpSock) -> None:
        """Go on once the peer has our FIN (tcp_rcv_state_process)."""
        if sock.state == TcpState.LAST_ACK:
            self.remove(sock)
            return
        sock.state = ON_FIN_ACKED[sock.state]
        self._linger(sock)

    def _linger(self, sock: TcpSock) -> None:
        """Forget a connection that our program has closed in a minute (tcp_time_wait)."""
        if sock.rtx_timer is not None:
            sock.rtx_timer.cancel()
        sock.rtx_timer = self._net.clock.add_timer(TCP_TIMEWAIT_NS, lambda: self.remove(sock))

    def _data(self, sock: TcpSock, segment: Segment) -> str:
        """Take data and FIN, and acknowledge them (tcp_data_queue)."""
        if segment.seq == segment.end_seq:
            return ""
        if sock.peer_finished:
            if not before(segment.seq, sock.rcv_nxt):
                return "NOT_SPECIFIED"
            if before(sock.rcv_nxt, segment.end_seq):
                self.remove(sock)
                return ABORT_ON_DATA
        before_it = sock.rcv_nxt
        fin = bool(segment.flags & Flag.FIN)
        was_finished = sock.peer_finished
        new = sock.take(segment.seq, segment.end_seq, fin=fin)
        arrived = (sock.rcv_nxt - before_it) & MASK32
        finished = sock.peer_finished and not was_finished
        if arrived > finished:
            sock.note_data(arrived - finished, self._net.clock.now_ns)
        if sock.program is not None:
            _keep(sock.program, segment, before_it)
        self._acknowledge(sock, segment.skb.fate, arrived=arrived, fin=finished and fin)
        if finished and sock.state == TcpState.TIME_WAIT:
            self._linger(sock)
        if arrived:
            wake(self._net, sock)
        return "" if new else "TCP_OLD_DATA"

    def _acknowledge(self, sock: TcpSock, cause: Fate, *, arrived: int, fin: bool) -> None:
        """Acknowledge now or later (__tcp_ack_snd_check, tcp_fin)."""
        net = self._net
        plain = arrived and not sock.out_of_order and sock.duplicate is None
        if fin:
            sock.ack_due = True
            sock.pingpong = True
            if sock.state == TcpState.CLOSE_WAIT:
                tcp_send_delayed_ack(net, sock, cause)
                return
        elif plain and not sock.peer_finished and not sock.acks_now:
            tcp_send_delayed_ack(net, sock, cause)
            return
        tcp_send_ack(net, sock, cause)

    def _send_dupack(self, sock: TcpSock, segment: Segment) -> None:
        """Acknowledge a segment out of place again, telling what it repeated."""
        if self._rate_limited(sock, segment):
            return
        if segment.seq != segment.end_seq and before(segment.seq, sock.rcv_nxt):
            sock.note_duplicate(segment.seq, segment.end_seq)
        tcp_send_ack(self._net, sock, segment.skb.fate)

    def _challenge(self, sock: TcpSock, segment: Segment) -> None:
        """Ask the peer whether it meant that (RFC 5961), not too often."""
        if not self._oow_limited(sock):
            tcp_send_ack(self._net, sock, segment.skb.fate)

    def _rate_limited(self, sock: TcpSock, segment: Segment) -> bool:
        """Return whether to be silent; segments with data are always answered."""
        if segment.seq != segment.end_seq and not segment.flags & Flag.SYN:
            return False
        return self._oow_limited(sock)

    def _oow_limited(self, sock: TcpSock) -> bool:
        now, last = self._net.clock.now_ns, sock.last_oow_ack_ns
        if last is not None and now - last < INVALID_RATELIMIT_MS * 1_000_000:
            return True
        sock.last_oow_ack_ns = now
        return False

    def _send_synack(self, sock: TcpSock, cause: Fate) -> bool:
        flags = Flag.SYN | Flag.ACK | (Flag.ECE if sock.ecn else 0)
        options = synack_options(
            mss=sock.mss,
            sack=sock.sack,
            timestamp=timestamp_of(self._net, sock),
            window_scale=sock.window_scale,
        )
        return tcp_transmit(
            self._net,
            sock,
            cause,
            "tcp syn/ack",
            flags=int(flags),
            seq=sock.isn,
            window=sock.window,
            options=options,
            identification=0,
        )

    def _send_request_ack(self, sock: TcpSock, segment: Segment) -> None:
        """Acknowledge for a half-open connection (tcp_v4_reqsk_send_ack)."""
        answer = build_tcp(
            src=sock.local,
            dst=sock.remote,
            src_port=sock.local_port,
            dst_port=sock.remote_port,
            seq=(sock.isn + 1) & MASK32,
            ack=sock.rcv_nxt,
            flags=int(Flag.ACK),
            window=sock.window >> (sock.window_scale or 0),
            options=ack_options(timestamp=timestamp_of(self._net, sock), sack_blocks=[]),
        )
        # The listener sends it, so LOG knows its owner; an open connection that no program
        # accepted has none.
        ip_send_unicast_reply(self._net, segment.skb, answer, "tcp ack", ProgramSocket())


def tcp_rmem(net: Net) -> tuple[int, int]:
    """Return the default and the largest receive buffer, octets (net.ipv4.tcp_rmem)."""
    words = net.sysctl.values.get("net.ipv4.tcp_rmem", "").split()
    if len(words) == 3:
        return int(words[1]), int(words[2])
    return TCP_RMEM.get(net.kernel, TCP_RMEM["6.18"])


def _ecn_wanted(net: Net, segment: Segment, tos: int) -> bool:
    """Return whether to agree to ECN (tcp_ecn_create_request)."""
    asked = segment.flags & (Flag.ECE | Flag.CWR) == Flag.ECE | Flag.CWR
    return asked and not tos & 3 and bool(net.sysctl.get("net.ipv4.tcp_ecn"))


def _keep(end: ProgramEnd, segment: Segment, expected: int) -> None:
    """Keep what arrived for the program, in order from `expected` on."""
    end.early[segment.seq] = segment.payload
    reached = expected
    for seq in sorted(end.early, key=lambda seq: (seq - expected + 0x80000000) & MASK32):
        if before(reached, seq):
            break
        fresh = end.early.pop(seq)[(reached - seq) & MASK32 :]
        end.unread += fresh
        reached = (reached + len(fresh)) & MASK32


def _key(sock: TcpSock) -> Key:
    return sock.remote, sock.remote_port, sock.local, sock.local_port


def _key_of(skb: Skb) -> Key:
    header = IPv4(skb.data)
    view = TCP(skb.data, header.header_len)
    return header.src, view.src_port, header.dst, view.dst_port
