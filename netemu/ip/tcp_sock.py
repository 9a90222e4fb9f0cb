"""A TCP connection: its numbers, what it received, and when that is acknowledged.

Kernel: net/ipv4/tcp_minisocks.c (tcp_check_req), net/ipv4/tcp_input.c, net/ipv4/tcp_output.c.

    SYN -> SYN_RECV -- handshake ACK --> ESTABLISHED -- FIN --> CLOSE_WAIT -- close --> LAST_ACK
    connect -> SYN_SENT -- SYN/ACK ------^    | close
                                              v
                                          FIN_WAIT1 -- ACK --> FIN_WAIT2 -- FIN --> TIME_WAIT
                                              +------- FIN --> CLOSING --- ACK ------^

Theory of operation: a connection whose program a snapshot does not tell (`program` is None) takes
what arrives, sends no data and never closes. What arrives is acknowledged at once while a
connection is young (quick ACKs) and no answer is likely to carry the ACK (ping-pong mode), a FIN
and the rest after `ato_ns`.

Differs from Linux: window growth and urgent data are left out; the window only follows what
arrived, as if the program read it soon.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from netemu.clock import Timer
from netemu.ip.options_echo import EchoedOptions
from netemu.ip.sockets import ProgramSocket
from netemu.ip.tcp_program import ProgramEnd
from netemu.ip.tcp_sender import MASK32, Sender, before

__all__ = ["MASK32", "TcpSock", "TcpState", "before", "initial_window", "initial_window_scale"]

TCP_TIMEOUT_INIT_S = 1
"""First retransmission time out (RFC 6298)."""

TCP_DELACK_MIN_NS = 40_000_000
"""Least delay of an ACK (include/net/tcp.h TCP_DELACK_MIN)."""

INVALID_RATELIMIT_MS = 500
"""Pause between answers to segments that make no sense (tcp_invalid_ratelimit)."""


class TcpState(Enum):
    """States of RFC 9293 section 3.3.2; a connection that is CLOSED is forgotten."""

    SYN_SENT = "SYN_SENT"
    SYN_RECV = "SYN_RECV"
    ESTABLISHED = "ESTABLISHED"
    FIN_WAIT1 = "FIN_WAIT1"
    FIN_WAIT2 = "FIN_WAIT2"
    CLOSING = "CLOSING"
    TIME_WAIT = "TIME_WAIT"
    CLOSE_WAIT = "CLOSE_WAIT"
    LAST_ACK = "LAST_ACK"


ON_FIN = {
    TcpState.SYN_RECV: TcpState.CLOSE_WAIT,
    TcpState.ESTABLISHED: TcpState.CLOSE_WAIT,
    TcpState.FIN_WAIT1: TcpState.CLOSING,
    TcpState.FIN_WAIT2: TcpState.TIME_WAIT,
}
"""What the peer's FIN leads to (tcp_fin)."""

ON_CLOSE = {
    TcpState.ESTABLISHED: TcpState.FIN_WAIT1,
    TcpState.CLOSE_WAIT: TcpState.LAST_ACK,
}
"""What our own FIN leads to (tcp_close_state)."""

ON_FIN_ACKED = {
    TcpState.FIN_WAIT1: TcpState.FIN_WAIT2,
    TcpState.CLOSING: TcpState.TIME_WAIT,
}
"""What the acknowledgement of our FIN leads to; after LAST_ACK there is nothing."""

TCP_MSS_DEFAULT = 536
"""Largest segment of a peer that does not say it, and the first guess of its segments."""

TCP_TIMEWAIT_NS = 60_000_000_000
"""How long a closed connection is remembered (TCP_TIMEWAIT_LEN)."""

TCP_MAX_QUICKACKS = 16
"""So many ACKs are sent at once before they are delayed."""


@dataclass(slots=True, kw_only=True, eq=False)
class TcpSock:
    """One connection (struct tcp_sock, struct tcp_request_sock)."""

    local: bytes
    remote: bytes
    local_port: int
    remote_port: int
    isn: int
    """Our first sequence number."""
    peer_isn: int
    rcv_nxt: int
    rcv_wup: int
    """rcv_nxt as we last told it."""
    window: int
    """Receive window offered at the start, octets."""
    window_edge: int
    """Sequence number behind the last octet that the peer may send."""
    mss: int
    """What we said in our SYN/ACK."""
    window_scale: int | None
    sack: bool
    ecn: bool
    timestamps: bool
    ts_offset: int
    """Added to the clock's milliseconds in our time stamps."""
    ts_recent: int
    """Latest time stamp of the peer."""
    ip_id: int
    """Identification of the next packet, once established."""
    peer_mss: int = TCP_MSS_DEFAULT
    peer_scale: int = 0
    """What the peer said in its SYN."""
    opened_ns: int = 0
    """When our SYN or SYN/ACK was sent first."""
    ip_options: EchoedOptions | None = None
    """IP options of the SYN, turned round."""
    transparent: bool = False
    """Answers may leave from an address that is none of ours (IP_TRANSPARENT)."""
    state: TcpState = TcpState.SYN_RECV
    retries: int = 0
    """How often the timer sent the SYN or SYN/ACK again (num_timeout)."""
    resent: bool = False
    """The SYN/ACK was sent more than once (num_retrans): it measures no round trip."""
    timer: Timer | None = None
    """SYN/ACK once more while half open, a delayed ACK afterwards."""
    fin_seq: int | None = None
    """Sequence number behind a FIN that came ahead of the stream."""
    ato_ns: int = 0
    """How long an ACK is delayed; 0 before the first data (icsk_ack.ato)."""
    quick: int = 0
    """So many ACKs may still go at once (icsk_ack.quick)."""
    pingpong: bool = False
    """Answers follow what arrives, and carry its ACK (inet_csk_in_pingpong_mode)."""
    last_data_ns: int = 0
    """When data arrived last (icsk_ack.lrcvtime)."""
    rcv_mss: int = TCP_MSS_DEFAULT
    """Guess of the peer's segment size (icsk_ack.rcv_mss)."""
    ack_due: bool = False
    """Something arrived that is not acknowledged (ICSK_ACK_SCHED)."""
    small_segments: int = 0
    """Segments since the last ACK that were no full ones (ICSK_ACK_PUSHED, PUSHED2)."""
    confirms: bool = False
    """The peer has acknowledged since the last segment (sk_dst_pending_confirm)."""
    peer_finished: bool = False
    """The peer's FIN was taken."""
    rtx_timer: Timer | None = None
    """Sends again what nobody acknowledged."""
    out: Sender | None = None
    """The sending half; None until the connection is open."""
    program: ProgramEnd | None = None
    """Who holds the connection; None: nobody that we know of."""
    last_oow_ack_ns: int | None = None
    """When a segment out of place was last answered."""
    out_of_order: list[tuple[int, int]] = field(default_factory=list)
    """Ranges that arrived ahead of rcv_nxt, the latest first (SACK blocks)."""
    duplicate: tuple[int, int] | None = None
    """What arrived twice, for the next ACK (RFC 2883)."""

    @property
    def owner(self) -> object:
        """What its packets carry as their socket: one with an owner if a program holds it."""
        return self if self.program is None else _PROGRAM

    @property
    def snd_nxt(self) -> int:
        """Our next sequence number."""
        return (self.isn + 1) & MASK32 if self.out is None else self.out.nxt

    def note_data(self, length: int, now_ns: int) -> None:
        """Adapt the ways of acknowledging to data that arrived (tcp_event_data_recv)."""
        self.ack_due = True
        if length >= self.rcv_mss:
            self.rcv_mss = min(length, self.mss)
        else:
            self.small_segments += 1
        since_ns = now_ns - self.last_data_ns
        if not self.ato_ns:
            self._more_quick_acks()
            self.ato_ns = TCP_DELACK_MIN_NS
        elif since_ns <= TCP_DELACK_MIN_NS // 2:
            self.ato_ns = self.ato_ns // 2 + TCP_DELACK_MIN_NS // 2
        elif since_ns < self.ato_ns:
            self.ato_ns = self.ato_ns // 2 + since_ns
        elif self.out is not None and since_ns > self.out.rto_ns:
            self._more_quick_acks()
        self.last_data_ns = now_ns

    def _more_quick_acks(self) -> None:
        """Allow quick ACKs for half of the window (tcp_incr_quickack)."""
        wanted = max(self.window // (2 * self.rcv_mss), 2)
        self.quick = max(self.quick, min(wanted, TCP_MAX_QUICKACKS))

    def note_acked(self) -> None:
        """Count an ACK that leaves (tcp_event_ack_sent)."""
        if self.quick and self.ack_due:
            self.quick -= 1
            if not self.quick:
                self.ato_ns = TCP_DELACK_MIN_NS
        self.ack_due = False
        self.small_segments = 0

    @property
    def acks_now(self) -> bool:
        """Whether what arrived in order is acknowledged at once (__tcp_ack_snd_check)."""
        unacked = (self.rcv_nxt - self.rcv_wup) & MASK32
        return unacked > self.rcv_mss or bool(self.quick and not self.pingpong)

    @property
    def acks_when_read(self) -> bool:
        """Whether the program's reading sends the ACK (tcp_cleanup_rbuf)."""
        pushed = self.small_segments
        return self.ack_due and (pushed > 1 or (pushed == 1 and not self.pingpong))

    def cancel_timer(self) -> None:
        """Stop what is pending."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def advertised_window(self) -> int:
        """Return the window field of the next ACK, moving the right edge (tcp_select_window).

        Without scaling the edge stays until a segment's worth is free again.
        """
        self.rcv_wup = self.rcv_nxt
        current = (self.window_edge - self.rcv_nxt) & MASK32
        if current > 0x7FFFFFFF:
            current = 0
        if self.window_scale is None:
            if current <= self.window - self.mss:
                current = self.window
            self.window_edge = (self.rcv_nxt + current) & MASK32
            return current
        unit = 1 << self.window_scale
        current = -(-max(current, self.window) // unit) * unit
        self.window_edge = (self.rcv_nxt + current) & MASK32
        return min(current >> self.window_scale, 0xFFFF)

    def in_window(self, seq: int, end_seq: int) -> bool:
        """Return whether a segment touches the receive window (tcp_in_window)."""
        edge = (self.rcv_nxt + self.window) & MASK32
        if seq == self.rcv_nxt:
            return True
        if before(self.rcv_nxt, end_seq) and before(seq, edge):
            return True
        return seq == edge and seq == end_seq

    def accepts_rst(self, seq: int) -> bool:
        """Return whether a RST is meant: at the next octet, or behind the last one held."""
        ends = [end for _, end in self.out_of_order] if self.sack else []
        furthest = max(ends, key=lambda end: (end - self.rcv_nxt) & MASK32, default=None)
        return seq in {self.rcv_nxt, furthest}

    def accepts_late_rst(self, seq: int) -> bool:
        """Return whether a RST before a FIN that was taken is meant (tcp_reset_check)."""
        return self.peer_finished and seq == (self.rcv_nxt - 1) & MASK32

    def note_duplicate(self, seq: int, end_seq: int) -> None:
        """Remember for the next ACK what arrived twice (tcp_dsack_set)."""
        if self.sack:
            end_seq = self.rcv_nxt if before(self.rcv_nxt, end_seq) else end_seq
            self.duplicate = (seq, end_seq)

    def sack_blocks(self) -> list[tuple[int, int]]:
        """Return the ranges to tell, a duplicate first, and forget the duplicate."""
        if not self.sack:
            return []
        duplicate, self.duplicate = self.duplicate, None
        return self.out_of_order if duplicate is None else [duplicate, *self.out_of_order]

    def take(self, seq: int, end_seq: int, *, fin: bool = False) -> bool:
        """Take data of an established connection; False when all of it was there already."""
        if before(seq, self.rcv_nxt):
            self.note_duplicate(seq, end_seq)
        if not before(self.rcv_nxt, end_seq):
            return False
        if fin:
            self.fin_seq = end_seq
        if before(self.rcv_nxt, seq):
            self._hold(seq, end_seq)
            return True
        self.rcv_nxt = end_seq
        if not fin and self.fin_seq is not None and not before(end_seq, self.fin_seq):
            # What was held is old now, its FIN included.
            self.fin_seq = None
        self._join_held()
        if self.fin_seq is not None and not before(self.rcv_nxt, self.fin_seq):
            self._finish(self.fin_seq)
        return True

    def _finish(self, fin_seq: int) -> None:
        """Take the peer's FIN: nothing may come behind it (tcp_fin)."""
        self.state = ON_FIN[self.state]
        self.peer_finished = True
        self.rcv_nxt = fin_seq
        self.out_of_order.clear()
        self.duplicate = None

    def _hold(self, seq: int, end_seq: int) -> None:
        """Remember a range ahead of the stream, merged with those that it touches."""
        for start, end in self.out_of_order:
            low = start if before(seq, start) else seq
            high = end if before(end, end_seq) else end_seq
            if before(low, high):
                self._note_overlap(low, high)
        rest = []
        for start, end in self.out_of_order:
            if before(end, seq) or before(end_seq, start):
                rest.append((start, end))
            else:
                seq = start if before(start, seq) else seq
                end_seq = end if before(end_seq, end) else end_seq
        self.out_of_order = [(seq, end_seq), *rest]

    def _note_overlap(self, low: int, high: int) -> None:
        """Remember what was held already, beside what was noted before (tcp_dsack_extend)."""
        if not self.sack:
            return
        if self.duplicate is not None:
            start, end = self.duplicate
            if before(end, low) or before(high, start):
                return
            low = start if before(start, low) else low
            high = end if before(high, end) else high
        self.duplicate = (low, high)

    def _join_held(self) -> None:
        reached = self.rcv_nxt
        moved = True
        while moved:
            moved = False
            for start, end in list(self.out_of_order):
                if before(self.rcv_nxt, start):
                    continue
                self.out_of_order.remove((start, end))
                if before(start, reached):
                    self._note_overlap(start, end if before(end, reached) else reached)
                if before(self.rcv_nxt, end):
                    self.rcv_nxt = end
                moved = True


_PROGRAM = ProgramSocket()


def initial_window(rcvbuf: int, mss: int) -> int:
    """Return the first receive window (tcp_select_initial_window).

    Half of the buffer is for data; it is rounded down to whole segments.

    >>> initial_window(131072, 1460), initial_window(131072, 1448)
    (64240, 65160)
    """
    space = rcvbuf // 2
    if space > mss:
        space -= space % mss
    return min(space, 0xFFFF)


def initial_window_scale(rcvbuf: int, largest_rcvbuf: int) -> int:
    """Return the window scale that lets the window grow to the largest buffer.

    >>> initial_window_scale(131072, 33554432), initial_window_scale(131072, 6291456)
    (10, 7)
    """
    space = max(rcvbuf // 2, largest_rcvbuf)
    return min(max(space.bit_length() - 1 - 15, 0), 14)
