"""TCP listeners: SYNs are answered, connections kept, data acknowledged.

Kernel: net/ipv4/tcp_ipv4.c, net/ipv4/tcp_minisocks.c (tcp_check_req), net/ipv4/tcp_input.c
(tcp_rcv_state_process, tcp_conn_request), net/ipv4/inet_connection_sock.c (reqsk_timer_handler).

What Linux 6.18 answers to odd segments was asked of it: see tests/ip/test_tcp_listen.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from netemu.clock import NSEC_PER_SEC
from netemu.ip.fib_table import Errno, Flowi4
from netemu.ip.options_echo import ip_options_build, ip_options_echo
from netemu.ip.output import ip_local_out, route_of
from netemu.ip.route import ip_route_output_key
from netemu.ip.rtable import Rtable, Rtcf, ip_dst_mtu_maybe_forward
from netemu.ip.sockets import AssignedSocket, ProgramSocket
from netemu.ip.tcp_options import TcpOptions, ack_options, parse_tcp_options, synack_options
from netemu.ip.tcp_sock import (
    INVALID_RATELIMIT_MS,
    MASK32,
    TCP_DELACK_MIN_NS,
    TCP_TIMEOUT_INIT_S,
    TcpSock,
    TcpState,
    before,
    initial_window,
    initial_window_scale,
)
from netemu.ip.unicast_reply import ip_send_unicast_reply
from netemu.link.device import skb_leave_checksum
from netemu.net import Net, skb_made
from netemu.skb import ETH_P_IP, Fate, Skb
from netemu.wire.ipv4 import IPPROTO_TCP, MIN_HEADER_LEN, IPv4, build_ipv4
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
        self.socks.pop(_key(sock), None)

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
        flow = _reply_key(header.src, view.src_port, header.dst, view.dst_port)
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
        )

    def _arm(self, sock: TcpSock, cause: Fate) -> None:
        """Set the timer of a half-open connection: 1 s, then twice as long each time."""
        delay = (TCP_TIMEOUT_INIT_S << sock.retries) * NSEC_PER_SEC
        clock = self._net.clock
        sock.timer = clock.add_timer(delay, lambda: self._retransmit(sock, cause), pinned=True)

    def _retransmit(self, sock: TcpSock, cause: Fate) -> None:
        if sock.retries >= self._net.sysctl.get("net.ipv4.tcp_synack_retries"):
            self.remove(sock)
            return
        sock.retries += 1
        self._send_synack(sock, cause)
        self._arm(sock, cause)

    def receive(self, sock: TcpSock, segment: Segment) -> Outcome:
        """Let a connection take a segment."""
        if sock.state == TcpState.SYN_RECV:
            outcome = self._check_req(sock, segment)
            if outcome is not None:
                return outcome
        reason = self._established(sock, segment)
        return Outcome(reason, reset=reason == ABORT_ON_DATA)

    def _check_req(self, sock: TcpSock, segment: Segment) -> Outcome | None:
        """Judge what arrives on a half-open connection; None once it is open (tcp_check_req)."""
        flags = segment.flags & (Flag.SYN | Flag.ACK | Flag.RST)
        cause = segment.skb.fate
        if segment.seq == sock.peer_isn and flags == Flag.SYN:
            if not self._rate_limited(sock, segment):
                self._send_synack(sock, cause)
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
        sock.state = TcpState.ESTABLISHED
        sock.last_oow_ack_ns = None
        sock.cancel_timer()
        return None

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
        return self._data(sock, segment)

    def _validate_incoming(self, sock: TcpSock, segment: Segment) -> str:
        """Check time stamp, sequence, RST and SYN (tcp_validate_incoming, RFC 5961)."""
        flags = segment.flags
        refused = self._out_of_place(sock, segment)
        if refused and not flags & Flag.SYN:
            if not flags & Flag.RST:
                self._send_dupack(sock, segment)
            elif sock.accepts_late_rst(segment.seq):
                self.remove(sock)
                return ""
            return refused
        if flags & Flag.RST:
            if sock.accepts_rst(segment.seq):
                self.remove(sock)
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

    def _ack(self, sock: TcpSock, segment: Segment) -> str:
        """Return what is wrong with the acknowledgement: we sent but a SYN (tcp_ack)."""
        sent = (sock.isn + 1) & MASK32
        if before(sent, segment.ack):
            return "TCP_ACK_UNSENT_DATA"
        return "TCP_TOO_OLD_ACK" if before(segment.ack, sent) else ""

    def _data(self, sock: TcpSock, segment: Segment) -> str:
        """Take data and FIN, and acknowledge them (tcp_data_queue)."""
        if segment.seq == segment.end_seq:
            return ""
        if sock.state == TcpState.CLOSE_WAIT:
            if not before(segment.seq, sock.rcv_nxt):
                return "NOT_SPECIFIED"
            if before(sock.rcv_nxt, segment.end_seq):
                self.remove(sock)
                return ABORT_ON_DATA
        before_it = sock.rcv_nxt
        fin = bool(segment.flags & Flag.FIN)
        new = sock.take(segment.seq, segment.end_seq, fin=fin)
        arrived = (sock.rcv_nxt - before_it) & MASK32
        finished = sock.state == TcpState.CLOSE_WAIT and arrived > 0
        sock.got_data |= arrived > finished
        if finished and fin:
            self._delay_ack(sock, segment.skb.fate)
        else:
            self._send_ack(sock, segment.skb.fate)
        return "" if new else "TCP_OLD_DATA"

    def _delay_ack(self, sock: TcpSock, cause: Fate) -> None:
        """Acknowledge a FIN a little later, or with the next ACK (tcp_send_delayed_ack)."""
        clock = self._net.clock
        delay = TCP_DELACK_MIN_NS if sock.got_data else clock.jiffies_to_ns(1)
        sock.cancel_timer()
        sock.timer = clock.add_timer(delay, lambda: self._send_ack(sock, cause))

    def _send_dupack(self, sock: TcpSock, segment: Segment) -> None:
        """Acknowledge a segment out of place again, telling what it repeated."""
        if self._rate_limited(sock, segment):
            return
        if segment.seq != segment.end_seq and before(segment.seq, sock.rcv_nxt):
            sock.note_duplicate(segment.seq, segment.end_seq)
        self._send_ack(sock, segment.skb.fate)

    def _challenge(self, sock: TcpSock, segment: Segment) -> None:
        """Ask the peer whether it meant that (RFC 5961), not too often."""
        if not self._oow_limited(sock):
            self._send_ack(sock, segment.skb.fate)

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

    def _send_synack(self, sock: TcpSock, cause: Fate) -> None:
        flags = Flag.SYN | Flag.ACK | (Flag.ECE if sock.ecn else 0)
        options = synack_options(
            mss=sock.mss,
            sack=sock.sack,
            timestamp=self._timestamp(sock),
            window_scale=sock.window_scale,
        )
        self._send(sock, cause, "tcp syn/ack", int(flags), sock.isn, sock.window, options, 0)

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
            options=ack_options(timestamp=self._timestamp(sock), sack_blocks=[]),
        )
        # The listener sends it, so LOG knows its owner; an open connection that no program
        # accepted has none.
        ip_send_unicast_reply(self._net, segment.skb, answer, "tcp ack", ProgramSocket())

    def _send_ack(self, sock: TcpSock, cause: Fate) -> None:
        """Acknowledge what arrived (tcp_send_ack)."""
        blocks = sock.sack_blocks()
        options = ack_options(timestamp=self._timestamp(sock), sack_blocks=blocks)
        window = sock.advertised_window()
        seq = (sock.isn + 1) & MASK32
        sock.cancel_timer()
        self._send(sock, cause, "tcp ack", int(Flag.ACK), seq, window, options, sock.ip_id)
        sock.ip_id = (sock.ip_id + 1) & 0xFFFF

    def _timestamp(self, sock: TcpSock) -> tuple[int, int] | None:
        if not sock.timestamps:
            return None
        clock = self._net.clock
        milliseconds = (clock.now_ns - clock.start_ns) // 1_000_000
        return (milliseconds + sock.ts_offset) & MASK32, sock.ts_recent

    def _send(  # noqa: PLR0913 - the fields of a segment
        self,
        sock: TcpSock,
        cause: Fate,
        what: str,
        flags: int,
        seq: int,
        window: int,
        options: bytes,
        identification: int,
    ) -> None:
        net = self._net
        ip_options = sock.ip_options
        first_hop = b"" if ip_options is None else ip_options.first_hop
        flow = _reply_key(first_hop or sock.remote, sock.remote_port, sock.local, sock.local_port)
        flow.any_source = sock.transparent
        route = ip_route_output_key(net, flow)
        if isinstance(route, Errno):
            return
        segment = build_tcp(
            src=sock.local,
            dst=sock.remote,
            src_port=sock.local_port,
            dst_port=sock.remote_port,
            seq=seq,
            ack=sock.rcv_nxt,
            flags=flags,
            window=window,
            options=options,
        )
        packet = build_ipv4(
            src=sock.local,
            dst=flow.daddr,
            protocol=IPPROTO_TCP,
            payload=segment,
            ttl=net.sysctl.get("net.ipv4.ip_default_ttl"),
            identification=identification,
            dont_fragment=True,
            options=b"" if ip_options is None else bytes(ip_options.octets),
        )
        skb = Skb(packet, protocol=ETH_P_IP, fate=net.new_fate(parent=cause))
        if ip_options is not None and ip_options.octets:
            ip_options_build(net, skb, ip_options, sock.remote)
        skb_leave_checksum(skb)
        skb.sk = sock
        skb.dst = route
        skb_made(net, skb, what)
        ip_local_out(net, skb)


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


def _reply_key(remote: bytes, remote_port: int, local: bytes, local_port: int) -> Flowi4:
    return Flowi4(
        daddr=remote,
        saddr=local,
        protocol=IPPROTO_TCP,
        src_port=local_port,
        dst_port=remote_port,
    )


def _key(sock: TcpSock) -> Key:
    return sock.remote, sock.remote_port, sock.local, sock.local_port


def _key_of(skb: Skb) -> Key:
    header = IPv4(skb.data)
    view = TCP(skb.data, header.header_len)
    return header.src, view.src_port, header.dst, view.dst_port


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
    if sock is not None:
        return connections.receive(sock, segment)
    return connections.listen(segment)
