"""When a connection acknowledges what arrived: at once, with its next segment, or a little later.

Kernel: net/ipv4/tcp_input.c (tcp_event_data_recv, tcp_measure_rcv_mss, tcp_enter_quickack_mode),
net/ipv4/tcp_output.c (tcp_event_ack_sent, tcp_send_delayed_ack), include/net/inet_connection_sock.h
(icsk_ack).

Theory of operation: a young connection acknowledges at once (quick ACKs), unless answers follow
what arrives and carry the ACK (ping-pong mode). Else the ACK waits for `ato`, which follows the
pace of the data. All times are in jiffies of 4 ms.
"""

from __future__ import annotations

from msgspec import Struct

from netemu.wire.tcp import MIN_HEADER_LEN, Flag

TCP_DELACK_MIN = TCP_ATO_MIN = 10
"""Least delay of an ACK: 40 ms (include/net/tcp.h)."""

TCP_DELACK_MAX = 49
"""Longest delay: a jiffy less than TCP_RTO_MIN (tcp_delack_max)."""

TCP_MAX_QUICKACKS = 16
"""So many ACKs are sent at once before they are delayed."""

TCP_MSS_DEFAULT = 536
TCP_MIN_MSS = 88
"""First and least guess of the peer's segments (include/net/tcp.h)."""

REMNANT = Flag.FIN | Flag.URG | Flag.SYN | Flag.PSH
"""Flags of a segment that may be the rest of something (TCP_REMNANT)."""


class Acks(Struct, kw_only=True, eq=False):
    """The state that decides about acknowledgements (struct inet_connection_sock, icsk_ack)."""

    rcv_mss: int = TCP_MSS_DEFAULT
    """Guess of the peer's segment size."""
    ato: int = 0
    """How long an ACK is delayed; 0 before the first data."""
    quick: int = 0
    """So many ACKs may still go at once."""
    pingpong: bool = False
    """Answers follow what arrives, and carry its ACK."""
    scheduled: bool = False
    """Something arrived that is not acknowledged (ICSK_ACK_SCHED)."""
    now: bool = False
    """It must be acknowledged at once (ICSK_ACK_NOW)."""
    pushed: int = 0
    """Segments since the last ACK that were no full ones, at most 2 (ICSK_ACK_PUSHED, PUSHED2)."""
    timeout: int | None = None
    """When the timer sends the ACK, if one waits."""
    expires: int = 0
    """What the timer is set to, if it is set."""
    last_data: int = 0
    """When data arrived last (lrcvtime)."""
    last_size: int = 0
    """Size of the last segment that may have been a full one."""
    compressed: int = 0
    """ACKs about early data that wait to leave as one (compressed_ack)."""
    repeated: int = 0
    """ACKs about early data that left one by one (dup_ack_counter)."""
    repeated_at: int | None = None
    """The number that those told (compressed_ack_rcv_nxt)."""

    def note_data(self, now: int, *, window: int, rto: int) -> None:
        """Adapt to data that arrived in order (tcp_event_data_recv)."""
        since = now - self.last_data
        if not self.ato:
            self.more_quick(window)
            self.ato = TCP_ATO_MIN
        elif since <= TCP_ATO_MIN // 2:
            self.ato = self.ato // 2 + TCP_ATO_MIN // 2
        elif since < self.ato:
            self.ato = min(self.ato // 2 + since, rto)
        elif since > rto:
            self.more_quick(window)
        self.last_data = now

    def measure(self, size: int, header_len: int, flags: int, *, usual_len: int, mss: int) -> bool:
        """Guess the peer's segment size; whether it grew (tcp_measure_rcv_mss).

        `usual_len` is what a header without SACK blocks has, `mss` the most that a segment may.
        """
        last, self.last_size = self.last_size, 0
        if size >= self.rcv_mss:
            larger = size != self.rcv_mss
            self.rcv_mss = min(size, mss)
            if flags & Flag.PSH:
                self.pushed = max(self.pushed, 1)
            return larger
        whole = size + header_len
        least = TCP_MIN_MSS if not flags & REMNANT else TCP_MSS_DEFAULT
        if whole >= least + MIN_HEADER_LEN:
            self.last_size = whole - usual_len
            if self.last_size == last:
                self.rcv_mss = last
                return False
        self.pushed = min(self.pushed + 1, 2)
        return False

    def more_quick(self, window: int) -> None:
        """Allow quick ACKs for half of the window (tcp_incr_quickack)."""
        wanted = window // (2 * self.rcv_mss) or 2
        self.quick = max(self.quick, min(wanted, TCP_MAX_QUICKACKS))

    def be_quick(self, window: int) -> None:
        """Acknowledge at once from now on (tcp_enter_quickack_mode)."""
        self.more_quick(window)
        self.pingpong = False
        self.ato = TCP_ATO_MIN

    def sent(self) -> None:
        """Count an ACK that leaves (tcp_event_ack_sent)."""
        self.compressed = 0
        if self.quick and self.scheduled:
            self.quick -= 1
            if not self.quick:
                self.ato = TCP_ATO_MIN
        self.scheduled = self.now = False
        self.pushed = 0
        self.timeout = None

    def delay(self, round_trip: int | None) -> int:
        """Return how long an ACK may wait from now on; `round_trip` if it is known."""
        ato = self.ato
        if ato > TCP_DELACK_MIN:
            most = TCP_DELACK_MAX + 1 if self.pingpong or self.pushed else 125
            if round_trip is not None:
                most = min(most, max(round_trip, TCP_DELACK_MIN))
            ato = min(ato, most)
        return min(ato, TCP_DELACK_MAX)

    def missed(self, rto: int) -> None:
        """Expect the next ACK to be late, too: nothing carried this one (tcp_delack_timer)."""
        if self.pingpong:
            self.pingpong = False
            self.ato = TCP_ATO_MIN
        else:
            self.ato = min(self.ato * 2, rto)
