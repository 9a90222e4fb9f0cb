"""A TCP connection: its numbers, what it received, and when that is acknowledged.

Kernel: net/ipv4/tcp_minisocks.c (tcp_check_req), net/ipv4/tcp_input.c, net/ipv4/tcp_output.c.

    SYN -> SYN_RECV -- handshake ACK --> ESTABLISHED -- FIN --> CLOSE_WAIT -- close --> LAST_ACK
    connect -> SYN_SENT -- SYN/ACK ------^    | close
                                              v
                                          FIN_WAIT1 -- ACK --> FIN_WAIT2 -- FIN --> TIME_WAIT
                                              +------- FIN --> CLOSING --- ACK ------^

Theory of operation: a connection whose program a snapshot does not tell (`program` is None) takes
what arrives, sends no data and never closes.

Differs from Linux: window growth is left out; the window only follows what
arrived, as if the program read it soon.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from netemu.clock import Timer
from netemu.ip.options_echo import EchoedOptions
from netemu.ip.sockets import ProgramSocket
from netemu.ip.tcp_acks import TCP_MSS_DEFAULT, Acks
from netemu.ip.tcp_ofo import OutOfOrder
from netemu.ip.tcp_program import ProgramEnd
from netemu.ip.tcp_sender import MASK32, Sender, before
from netemu.wire.tcp import MIN_HEADER_LEN

__all__ = ["MASK32", "TcpSock", "TcpState", "before", "initial_window", "initial_window_scale"]

TCP_TIMEOUT_INIT_S = 1
"""First retransmission time out (RFC 6298)."""

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

TIMESTAMP_LEN = 12
"""Octets of a time stamp option, padded (TCPOLEN_TSTAMP_ALIGNED)."""

TCP_TIMEWAIT_NS = 60_000_000_000
"""How long a closed connection is remembered (TCP_TIMEWAIT_LEN)."""


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
    synack_stamps: tuple[int, int] | None = None
    """Time stamps of our first and last SYN/ACK."""
    timer: Timer | None = None
    """SYN/ACK once more while half open, a delayed ACK afterwards."""
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
    last_oow_ack: int | None = None
    """When a segment out of place was last answered, in jiffies."""
    acks: Acks = field(default_factory=Acks)
    """When what arrived is acknowledged."""
    early: OutOfOrder = field(init=False)
    """What arrived ahead of the stream."""
    predicted: int | None = None
    """Window field of the segment that is expected next (pred_flags); None: any may come."""
    snd_wl1: int = 0
    """Sequence number of the segment that last told the peer's window."""
    max_window: int = 0
    """Largest window that the peer ever told."""
    urgent: int | None = None
    """Number of an urgent octet that nobody read (urg_seq)."""
    unread: bool = False
    """Something arrived in order that no program reads."""

    def __post_init__(self) -> None:
        """Begin with nothing early."""
        self.early = OutOfOrder(sack=self.sack)

    @property
    def owner(self) -> object:
        """What its packets carry as their socket: one with an owner if a program holds it."""
        return self if self.program is None else _PROGRAM

    @property
    def snd_nxt(self) -> int:
        """Our next sequence number."""
        return (self.isn + 1) & MASK32 if self.out is None else self.out.nxt

    def acks_when_read(self) -> bool:
        """Return whether the program's reading sends the ACK (tcp_cleanup_rbuf)."""
        acks, unacked = self.acks, (self.rcv_nxt - self.rcv_wup) & MASK32
        small = acks.pushed > 1 or (acks.pushed and not acks.pingpong)
        return acks.scheduled and bool(small or unacked > acks.rcv_mss)

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
        """Return whether a RST is meant: at the next octet, or behind the last one told."""
        return seq in {self.rcv_nxt, self.early.furthest()} or self.accepts_late_rst(seq)

    def accepts_late_rst(self, seq: int) -> bool:
        """Return whether a RST before a FIN that was taken is meant (tcp_reset_check)."""
        return self.peer_finished and seq == (self.rcv_nxt - 1) & MASK32

    @property
    def header_len(self) -> int:
        """Return how long a header without SACK blocks is (tcp_header_len)."""
        return MIN_HEADER_LEN + TIMESTAMP_LEN * self.timestamps

    def receive_window(self) -> int:
        """Return how much the peer may send still (tcp_receive_window)."""
        left = (self.window_edge - self.rcv_nxt) & MASK32
        return 0 if left > MASK32 >> 1 else left

    def predict(self) -> None:
        """Expect segments in order from now on, if nothing is unusual (tcp_fast_path_check)."""
        if not self.early and self.urgent is None and self.out is not None:
            self.predicted = self.out.window >> self.peer_scale


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
