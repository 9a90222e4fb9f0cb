"""The sending half of a TCP connection: what is unacknowledged, and when it is sent again.

Kernel: net/ipv4/tcp_output.c (tcp_write_xmit, tcp_minshall_check, tcp_schedule_loss_probe),
net/ipv4/tcp_input.c (tcp_rtt_estimator, tcp_ack).

Theory of operation: nothing is sent here; `next_segment` says what may be sent now, `acknowledge`
takes the peer's word, and `timeout` names what the timer is to send. The first silence is answered
by a loss probe (the last segment again), the next ones by the first segment after twice the time
each. Numbers are those on the wire, modulo 2**32.

Differs from Linux: the congestion window follows RFC 5681 with Linux' first window of 10 segments,
without CUBIC, RACK and undo; a window of zero is not probed.
"""

from __future__ import annotations

from collections import deque

from msgspec import Struct, field

MASK32 = 0xFFFFFFFF

TCP_INIT_CWND = 10
"""Segments that may be sent before the first acknowledgement (RFC 6928)."""

TCP_RTO_MIN_NS = 200_000_000
TCP_RTO_MAX_NS = 120_000_000_000
TCP_TIMEOUT_INIT_NS = 1_000_000_000
"""Bounds of the retransmission time out and its first value (include/net/tcp.h)."""

TCP_TIMEOUT_MIN_NS = 8_000_000
"""Two jiffies, which a loss probe waits beyond two round trips."""

TCP_RETR2 = 15
"""So often a segment is sent again before the connection is given up (tcp_retries2)."""

FAST_RETRANSMIT = 3
"""Duplicate acknowledgements that prove a loss (RFC 5681 section 3.2)."""


def before(first: int, second: int) -> bool:
    """Return whether one sequence number is older than another, modulo 2**32.

    >>> before(0xFFFFFFF0, 5)
    True
    """
    return (first - second) & MASK32 > 0x7FFFFFFF


class Piece(Struct, frozen=True):
    """A segment to send."""

    seq: int
    payload: bytes
    push: bool
    fin: bool

    @property
    def end_seq(self) -> int:
        """Sequence number behind it."""
        return (self.seq + len(self.payload) + self.fin) & MASK32


class Sender(Struct, kw_only=True, eq=False):
    """What one end sends."""

    una: int
    """Oldest octet that is not acknowledged."""
    nxt: int
    """Next octet to send."""
    window: int
    """What the peer takes, octets."""
    mss: int
    """Largest payload of a segment."""
    octets: bytearray = field(default_factory=bytearray)
    """From `una` on, sent and unsent."""
    closing: bool = False
    """A FIN is to follow the data."""
    fin_sent: bool = False
    cwnd: int = TCP_INIT_CWND
    """Congestion window, segments."""
    ssthresh: int = 1 << 30
    acked: int = 0
    """Octets that the peer has acknowledged so far (bytes_acked)."""
    srtt_ns: int = 0
    mdev_ns: int = 0
    rto_ns: int = TCP_TIMEOUT_INIT_NS
    retries: int = 0
    probed: bool = False
    """The loss probe of this silence was sent."""
    duplicates: int = 0
    recover: int | None = None
    """Behind what was in flight when a loss was found."""
    small_end: int | None = None
    """Behind the last segment that was not full (snd_sml)."""
    in_flight: deque[tuple[Piece, int, bool]] = field(default_factory=deque)
    """Segments, when they were sent, and whether more than once."""

    def next_segment(self) -> Piece | None:
        """Return what may be sent now, None for nothing (tcp_write_xmit)."""
        if self.fin_sent:
            return None
        sent = (self.nxt - self.una) & MASK32
        left = len(self.octets) - sent
        if not left:
            return self._take(b"", last=True) if self.closing else None
        room = min(self.cwnd * self.mss, self.window) - sent
        size = min(left, self.mss, room)
        if size <= 0 or (size < min(left, self.mss) and sent):
            return None
        if size < self.mss and not self.closing and self._small_in_flight():
            return None
        return self._take(bytes(self.octets[sent : sent + size]), last=size == left)

    def _small_in_flight(self) -> bool:
        """Return whether Nagle's algorithm waits, as Minshall changed it."""
        return self.small_end is not None and before(self.una, self.small_end)

    def _take(self, payload: bytes, *, last: bool) -> Piece:
        fin = last and self.closing
        piece = Piece(self.nxt, payload, bool(payload) and last, fin)
        self.nxt = piece.end_seq
        self.fin_sent = fin
        if payload and len(payload) < self.mss:
            self.small_end = self.nxt
        return piece

    def note_sent(self, piece: Piece, now_ns: int) -> None:
        """Remember when a segment was sent first."""
        self.in_flight.append((piece, now_ns, False))

    def acknowledge(self, ack: int, now_ns: int) -> bool:
        """Take an acknowledgement of something new; True when it covers our FIN."""
        count = (ack - self.una) & MASK32
        fin_acked = self.fin_sent and ack == self.nxt
        del self.octets[: count - fin_acked]
        self.una = ack
        self.acked += count
        self.duplicates = self.retries = 0
        self.probed = False
        segments = 0
        while self.in_flight and not before(ack, self.in_flight[0][0].end_seq):
            _, sent_ns, again = self.in_flight.popleft()
            segments += 1
            if not again:
                self.measure(now_ns - sent_ns)
        self._grow(segments)
        if self.recover is not None and not before(ack, self.recover):
            self.recover = None
        return fin_acked

    def _grow(self, segments: int) -> None:
        if self.cwnd < self.ssthresh:
            self.cwnd += segments
        elif segments:
            self.cwnd += self.cwnd <= segments

    def measure(self, rtt_ns: int) -> None:
        """Adapt the time out to a round trip (RFC 6298, tcp_rtt_estimator)."""
        if not self.srtt_ns:
            self.srtt_ns, self.mdev_ns = max(rtt_ns, 1), rtt_ns // 2
        else:
            error = rtt_ns - self.srtt_ns
            self.srtt_ns = max(self.srtt_ns + error // 8, 1)
            self.mdev_ns += (abs(error) - self.mdev_ns) // 4
        variation = max(4 * self.mdev_ns, TCP_RTO_MIN_NS)
        self.rto_ns = min(self.srtt_ns + variation, TCP_RTO_MAX_NS)

    def wait_ns(self) -> int:
        """Return how long the peer may be silent from now on."""
        if self.probed or self.retries or not self.srtt_ns:
            return min(self.rto_ns << self.retries, TCP_RTO_MAX_NS)
        alone = len(self.in_flight) == 1
        wait = 2 * self.srtt_ns + (TCP_RTO_MIN_NS if alone else TCP_TIMEOUT_MIN_NS)
        return min(wait, self.rto_ns)

    def timeout(self) -> Piece | None:
        """Return what to send again after a silence; None when it is time to give up."""
        if not self.probed and not self.retries and self.srtt_ns:
            self.probed = True
            return self._again(-1)
        if self.retries >= TCP_RETR2:
            return None
        self.retries += 1
        self.ssthresh = max(self.cwnd // 2, 2)
        self.cwnd = 1
        return self._again(0)

    def duplicate(self) -> Piece | None:
        """Count a duplicate acknowledgement; return what it proves to be lost, if it does."""
        self.duplicates += 1
        if self.duplicates != FAST_RETRANSMIT or self.recover is not None:
            return None
        self.recover = self.nxt
        self.ssthresh = max(self.cwnd // 2, 2)
        self.cwnd = self.ssthresh
        return self._again(0)

    def next_hole(self) -> Piece | None:
        """Return what the peer lacks still when it acknowledges a part of the loss (RFC 6582)."""
        return self._again(0) if self.recover is not None and self.in_flight else None

    def _again(self, index: int) -> Piece:
        piece, sent_ns, _ = self.in_flight[index]
        self.in_flight[index] = (piece, sent_ns, True)
        return piece
