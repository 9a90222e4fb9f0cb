"""The server's side of a TCP connection, as far as the kernel speaks on its own.

Kernel: net/ipv4/tcp_minisocks.c (tcp_check_req), net/ipv4/tcp_input.c, net/ipv4/tcp_output.c.

    SYN -> SYN_RECV -- handshake ACK --> ESTABLISHED -- FIN --> CLOSE_WAIT
             |  SYN/ACK again after 1, 2, 4, ... s        RST ends any of them

Theory of operation: there is no program, so nobody sends data or closes; what arrives is taken and
acknowledged at once, as Linux does while a connection is young (quick ACKs), but a FIN after 40 ms.

Differs from Linux: ACKs of data are never delayed, window growth and urgent data are left out; the
window only follows what arrived, as if the program read it soon.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from netemu.clock import Timer
from netemu.ip.options_echo import EchoedOptions

MASK32 = 0xFFFFFFFF

TCP_TIMEOUT_INIT_S = 1
"""First retransmission time out (RFC 6298)."""

TCP_DELACK_MIN_NS = 40_000_000
"""Least delay of an ACK (include/net/tcp.h TCP_DELACK_MIN)."""

INVALID_RATELIMIT_MS = 500
"""Pause between answers to segments that make no sense (tcp_invalid_ratelimit)."""


class TcpState(Enum):
    """States that a server without a program can be in."""

    SYN_RECV = "SYN_RECV"
    ESTABLISHED = "ESTABLISHED"
    CLOSE_WAIT = "CLOSE_WAIT"


def before(first: int, second: int) -> bool:
    """Return whether one sequence number is older than another, modulo 2**32.

    >>> before(0xFFFFFFF0, 5)
    True
    """
    return (first - second) & MASK32 > 0x7FFFFFFF


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
    ip_options: EchoedOptions | None = None
    """IP options of the SYN, turned round."""
    transparent: bool = False
    """Answers may leave from an address that is none of ours (IP_TRANSPARENT)."""
    state: TcpState = TcpState.SYN_RECV
    retries: int = 0
    timer: Timer | None = None
    """SYN/ACK once more while half open, a delayed ACK afterwards."""
    fin_seq: int | None = None
    """Sequence number behind a FIN that came ahead of the stream."""
    got_data: bool = False
    """Data came in order; only then are ACKs delayed by more than a jiffy."""
    last_oow_ack_ns: int | None = None
    """When a segment out of place was last answered."""
    out_of_order: list[tuple[int, int]] = field(default_factory=list)
    """Ranges that arrived ahead of rcv_nxt, the latest first (SACK blocks)."""
    duplicate: tuple[int, int] | None = None
    """What arrived twice, for the next ACK (RFC 2883)."""

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
        return self.state == TcpState.CLOSE_WAIT and seq == (self.rcv_nxt - 1) & MASK32

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
        self.state = TcpState.CLOSE_WAIT
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
