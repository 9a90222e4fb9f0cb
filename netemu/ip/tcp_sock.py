"""A TCP connection: its numbers, what it received, and when that is acknowledged.

Kernel: net/ipv4/tcp_minisocks.c (tcp_check_req), net/ipv4/tcp_input.c, net/ipv4/tcp_output.c.

    SYN -> SYN_RECV -- handshake ACK --> ESTABLISHED -- FIN --> CLOSE_WAIT -- close --> LAST_ACK
    connect -> SYN_SENT -- SYN/ACK ------^    | close
                                              v
                                          FIN_WAIT1 -- ACK --> FIN_WAIT2 -- FIN --> TIME_WAIT
                                              +------- FIN --> CLOSING --- ACK ------^

Theory of operation: a connection whose program a snapshot does not tell (`program` is None) takes
what arrives, sends no data and never closes.
"""

from __future__ import annotations

from dataclasses import InitVar, dataclass, field
from enum import Enum

from netemu.clock import Timer
from netemu.ip.options_echo import EchoedOptions
from netemu.ip.sockets import ProgramSocket
from netemu.ip.tcp_acks import TCP_MSS_DEFAULT, Acks
from netemu.ip.tcp_ofo import OutOfOrder, ReceiveQueue
from netemu.ip.tcp_program import ProgramEnd
from netemu.ip.tcp_sender import MASK32, Sender, before
from netemu.ip.tcp_window import ReceiveWindow
from netemu.wire.tcp import MIN_HEADER_LEN

__all__ = ["MASK32", "TcpSock", "TcpState", "before"]

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
    rcv_nxt: InitVar[int]
    """Next number that the peer is to send; afterwards `queue.end` counts it."""
    rcv: ReceiveWindow
    """Memory for what arrives, and the window that it allows."""
    mss: int
    """What we said in our SYN/ACK."""
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
    queue: ReceiveQueue = field(init=False)
    """What arrived in order."""
    rcv_wup: int = field(init=False)
    """rcv_nxt as we last told it."""
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

    def __post_init__(self, rcv_nxt: int) -> None:
        """Begin with nothing received."""
        self.start_at(rcv_nxt)
        self.early = OutOfOrder(self.rcv, sack=self.sack)

    def start_at(self, number: int) -> None:
        """Expect the peer's numbers from this one on."""
        self.queue = ReceiveQueue(number)
        self.rcv_wup = number

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
        acks, unacked = self.acks, (self.queue.end - self.rcv_wup) & MASK32
        small = acks.pushed > 1 or (acks.pushed and not acks.pingpong)
        return acks.scheduled and bool(small or unacked > acks.rcv_mss)

    def cancel_timer(self) -> None:
        """Stop what is pending."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def advertised_window(self) -> int:
        """Return the window field of the next ACK, which says it (tcp_select_window)."""
        field, short = self.rcv.select(self.receive_window(), self.acks.rcv_mss)
        self.rcv_wup = self.queue.end
        if short:
            self.acks.quick = 0
        if not field:
            self.predicted = None
        return field

    def window_moves(self) -> bool:
        """Return whether an ACK would not make the window smaller (__tcp_ack_snd_check)."""
        window, short = self.rcv.wanted(self.acks.rcv_mss)
        if short:
            self.acks.quick = 0
        return window >= self.rcv.window

    def in_window(self, seq: int, end_seq: int) -> bool:
        """Return whether a segment touches the receive window (tcp_in_window)."""
        edge = (self.queue.end + self.rcv.window) & MASK32
        if seq == self.queue.end:
            return True
        if before(self.queue.end, end_seq) and before(seq, edge):
            return True
        return seq == edge and seq == end_seq

    def accepts_rst(self, seq: int) -> bool:
        """Return whether a RST is meant: at the next octet, or behind the last one told."""
        return seq in {self.queue.end, self.early.furthest()} or self.accepts_late_rst(seq)

    def accepts_late_rst(self, seq: int) -> bool:
        """Return whether a RST before a FIN that was taken is meant (tcp_reset_check)."""
        return self.peer_finished and seq == (self.queue.end - 1) & MASK32

    @property
    def advmss(self) -> int:
        """Return the largest payload that the peer was told (tcp_sock.advmss)."""
        return self.mss - TIMESTAMP_LEN * self.timestamps

    @property
    def header_len(self) -> int:
        """Return how long a header without SACK blocks is (tcp_header_len)."""
        return MIN_HEADER_LEN + TIMESTAMP_LEN * self.timestamps

    def receive_window(self) -> int:
        """Return how much the peer may send still (tcp_receive_window)."""
        left = (self.rcv_wup + self.rcv.window - self.queue.end) & MASK32
        return 0 if left > MASK32 >> 1 else left

    def predict(self) -> None:
        """Expect segments in order from now on, if nothing is unusual (tcp_fast_path_check)."""
        usual = not self.early and self.urgent is None and self.rcv.window
        if usual and self.out is not None:
            self.predicted = self.out.window >> self.peer_scale


_PROGRAM = ProgramSocket()
