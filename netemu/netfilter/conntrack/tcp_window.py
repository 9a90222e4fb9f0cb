"""The TCP window check: may this segment belong to the connection?

Kernel: net/netfilter/nf_conntrack_proto_tcp.c (tcp_in_window), after Guido van Rooij: Real Stateful
TCP Packet Filtering in IP Filter, 2001.

    I.    seq        <= sender.td_maxend                       (upper bound of data)
    II.   seq + len  >= sender.td_end - receiver.td_maxwin     (lower bound of data)
    III.  sack       <= receiver.td_end                        (upper bound of an ACK)
    IV.   sack       >= receiver.td_end - MAXACKWINDOW         (lower bound of an ACK)

`sack` is the highest right edge of the SACK blocks, or ack. Numbers are modulo 2**32.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final, NamedTuple

from netemu.netfilter.conntrack.connection import REPLY, TcpSide, TcpTracking
from netemu.wire.tcp import (
    MIN_HEADER_LEN,
    TCPOPT_EOL,
    TCPOPT_NOP,
    TCPOPT_SACK,
    TCPOPT_SACK_PERM,
    TCPOPT_WINDOW,
)

_MASK32: Final = 0xFFFFFFFF
_HALF: Final = 0x80000000


class Flags:
    """Octet 13 of the TCP header, as plain ints."""

    FIN: Final = 1
    SYN: Final = 2
    RST: Final = 4
    PSH: Final = 8
    ACK: Final = 16
    URG: Final = 32
    ECE: Final = 64
    CWR: Final = 128


WINDOW_SCALE: Final = 0x01
SACK_PERM: Final = 0x02
CLOSE_INIT: Final = 0x04
"""This side closed first."""
BE_LIBERAL: Final = 0x08
"""Do not hold the window against this side."""
DATA_UNACKNOWLEDGED: Final = 0x10
MAXACK_SET: Final = 0x20
EXP_CHALLENGE_ACK: Final = 0x40
SIMULTANEOUS_OPEN: Final = 0x80
"""IP_CT_TCP_FLAG_* (include/uapi/linux/netfilter/nf_conntrack_tcp.h)."""

MAXACKWINCONST: Final = 66000
"""Smallest window for old ACKs."""

MAX_WSCALE: Final = 14
"""RFC 7323 section 2.3."""

_SYN_SENT: Final = 1
_SYN_RECV: Final = 2


class Segment:
    """What the tracker reads from a TCP header."""

    __slots__ = ("ack", "data", "end", "flags", "header_len", "offset", "seq", "window")

    def __init__(self, data: bytearray, offset: int) -> None:
        """Read the header at `offset`; it is known to be whole."""
        self.data = data
        self.offset = offset
        self.seq = int.from_bytes(data[offset + 4 : offset + 8], "big")
        self.ack = int.from_bytes(data[offset + 8 : offset + 12], "big")
        self.header_len = (data[offset + 12] >> 4) * 4
        flags = self.flags = data[offset + 13]
        self.window = data[offset + 14] << 8 | data[offset + 15]
        payload = len(data) - offset - self.header_len
        self.end = (self.seq + payload + (flags >> 1 & 1) + (flags & 1)) & _MASK32
        """seq + len, SYN and FIN counting one each (segment_seq_plus_len)."""


class WindowVerdict(Enum):
    """Whether to believe the packet (enum nf_ct_tcp_action)."""

    ACCEPT = auto()
    IGNORE = auto()
    INVALID = auto()


class WindowResult(NamedTuple):
    """The verdict, and why in the words of log_invalid."""

    action: WindowVerdict
    text: str


_ACCEPT: Final = WindowResult(WindowVerdict.ACCEPT, "")


def before(first: int, second: int) -> bool:
    """Return whether `first` comes before `second`, modulo 2**32."""
    return ((first - second) & _MASK32) >= _HALF


def after(first: int, second: int) -> bool:
    """Return whether `first` comes after `second`, modulo 2**32."""
    return ((second - first) & _MASK32) >= _HALF


def tcp_options(segment: Segment, side: TcpSide) -> None:
    """Note window scale and SACK permission that a SYN offers; no options change nothing."""
    data = segment.data
    position = segment.offset + MIN_HEADER_LEN
    length = segment.header_len - MIN_HEADER_LEN
    if not length:
        return
    side.td_scale = 0
    side.flags &= BE_LIBERAL
    while length > 0:
        kind = data[position]
        if kind == TCPOPT_EOL:
            return
        if kind == TCPOPT_NOP:
            position += 1
            length -= 1
            continue
        if length < 2:
            return
        size = data[position + 1]
        if size < 2 or size > length:
            return
        if kind == TCPOPT_SACK_PERM and size == 2:
            side.flags |= SACK_PERM
        elif kind == TCPOPT_WINDOW and size == 3:
            side.td_scale = min(data[position + 2], MAX_WSCALE)
            side.flags |= WINDOW_SCALE
        position += size
        length -= size


def tcp_sack(segment: Segment) -> int:
    """Return the highest right edge of the first SACK option, or ack."""
    data = segment.data
    position = segment.offset + MIN_HEADER_LEN
    length = segment.header_len - MIN_HEADER_LEN
    sack = segment.ack
    while length > 0:
        kind = data[position]
        if kind == TCPOPT_EOL:
            return sack
        if kind == TCPOPT_NOP:
            position += 1
            length -= 1
            continue
        if length < 2:
            return sack
        size = data[position + 1]
        if size < 2 or size > length:
            return sack
        if kind == TCPOPT_SACK and size >= 10 and not (size - 2) % 8:
            for block in range(position + 2, position + size, 8):
                edge = int.from_bytes(data[block + 4 : block + 8], "big")
                if after(edge, sack):
                    sack = edge
            return sack
        position += size
        length -= size
    return sack


def tcp_init_sender(sender: TcpSide, receiver: TcpSide, segment: Segment, direction: int) -> None:
    """Start a side from its SYN or SYN/ACK."""
    sender.td_end = sender.td_maxend = segment.end
    sender.td_maxwin = segment.window or 1
    tcp_options(segment, sender)
    # RFC 7323: only if both sides offer it is the window scaled.
    if direction == REPLY and not sender.flags & receiver.flags & WINDOW_SCALE:
        sender.td_scale = 0
        receiver.td_scale = 0


def tcp_in_window(
    tcp: TcpTracking,
    direction: int,
    segment: Segment,
    *,
    pure_ack: bool,
    receiver_offset: int = 0,
) -> WindowResult:
    """Check a segment against the windows and, if it is within, move them.

    `receiver_offset` is by how much NAT shifted the numbers that the segment acknowledges.
    """
    sender = tcp.seen[direction]
    receiver = tcp.seen[not direction]
    flags = segment.flags
    syn, has_ack = flags & Flags.SYN, flags & Flags.ACK
    seq, end = segment.seq, segment.end
    win = segment.window
    ack = sack = segment.ack
    if receiver.flags & SACK_PERM:
        sack = tcp_sack(segment)
    if receiver_offset:
        ack = (ack - receiver_offset) & _MASK32
        sack = (sack - receiver_offset) & _MASK32

    if sender.td_maxwin == 0:
        if syn:
            tcp_init_sender(sender, receiver, segment, direction)
            if not has_ack:
                return _ACCEPT
        else:
            _init_mid_stream(sender, receiver, segment, sack)
    elif syn and after(end, sender.td_end) and tcp.state in (_SYN_SENT, _SYN_RECV):
        # RFC 9293 3.4: a connection begun anew uses higher numbers.
        tcp_init_sender(sender, receiver, segment, direction)
        if direction == REPLY and not has_ack:
            return _ACCEPT

    if not has_ack or (flags & Flags.RST and ack == 0):
        # No ACK, or the zero one of a careless RST: take it for right.
        ack = sack = receiver.td_end
    if flags & Flags.RST and seq == 0 and tcp.state == _SYN_SENT:
        seq = end = sender.td_end

    result = _bounds(sender, receiver, seq, end, sack)
    if result is not None:
        return result

    if not syn:
        win = (win << sender.td_scale) & _MASK32
    _update(sender, receiver, (seq, end, ack, sack, win), has_ack=bool(has_ack))
    if pure_ack:
        _note_retransmission(tcp, direction, (seq, ack, end, segment.window))
    return _ACCEPT


def _init_mid_stream(sender: TcpSide, receiver: TcpSide, segment: Segment, sack: int) -> None:
    """The history of this side is lost: start from what the packet says."""
    sender.td_end = segment.end
    sender.td_maxwin = (segment.window << sender.td_scale) & _MASK32 or 1
    sender.td_maxend = (segment.end + sender.td_maxwin) & _MASK32
    if receiver.td_maxwin == 0:
        receiver.td_end = receiver.td_maxend = sack
    elif sack == (receiver.td_end + 1) & _MASK32:
        # Likely the answer to a keepalive.
        receiver.td_end = sack


def _bounds(
    sender: TcpSide, receiver: TcpSide, seq: int, end: int, sack: int
) -> WindowResult | None:
    """Apply rules I to IV; None when all hold."""
    max_ack_window = max(sender.td_maxwin, MAXACKWINCONST)
    data_floor = (sender.td_end - receiver.td_maxwin - 1) & _MASK32
    ack_floor = (receiver.td_end - max_ack_window - 1) & _MASK32
    data_ceiling = (sender.td_maxend + 1) & _MASK32
    ack_ceiling = (receiver.td_end + 1) & _MASK32
    if not before(seq, data_ceiling):
        overshot = (end - sender.td_maxend + 1) & _MASK32
        if (
            receiver.td_maxwin
            and after(end, data_floor)
            and after(sack, ack_floor)
            and overshot <= receiver.td_maxwin
            and before(sack, ack_ceiling)
        ):
            # A sender that overruns the window: its peer may still acknowledge that.
            sender.td_end = end
            sender.flags |= DATA_UNACKNOWLEDGED
            return WindowResult(WindowVerdict.IGNORE, f"{overshot} bytes more than expected")
        return WindowResult(
            WindowVerdict.INVALID,
            f"SEQ is over upper bound {data_ceiling} (over the window of the receiver)",
        )
    if not before(sack, ack_ceiling):
        return WindowResult(
            WindowVerdict.INVALID,
            f"ACK is over upper bound {ack_ceiling} (ACKed data not seen yet)",
        )
    if receiver.td_maxwin and not after(end, data_floor):
        return WindowResult(
            WindowVerdict.IGNORE,
            f"SEQ is under lower bound {data_floor} (already ACKed data retransmitted)",
        )
    if not after(sack, ack_floor):
        return WindowResult(
            WindowVerdict.IGNORE,
            f"ignored ACK under lower bound {ack_floor} (possible overly delayed)",
        )
    return None


def _update(
    sender: TcpSide,
    receiver: TcpSide,
    numbers: tuple[int, int, int, int, int],
    *,
    has_ack: bool,
) -> None:
    """Move both windows along."""
    _, end, ack, sack, win = numbers
    sender.td_maxwin = max(sender.td_maxwin, (win + sack - ack) & _MASK32)
    if after(end, sender.td_end):
        sender.td_end = end
        sender.flags |= DATA_UNACKNOWLEDGED
    if has_ack:
        if not sender.flags & MAXACK_SET:
            sender.td_maxack = ack
            sender.flags |= MAXACK_SET
        elif after(ack, sender.td_maxack):
            sender.td_maxack = ack
    if receiver.td_maxwin and after(end, sender.td_maxend):
        receiver.td_maxwin = (receiver.td_maxwin + end - sender.td_maxend) & _MASK32
    right = (sack + win) & _MASK32
    if after(right, (receiver.td_maxend - 1) & _MASK32):
        receiver.td_maxend = right if win else (right + 1) & _MASK32
    if ack == receiver.td_end:
        receiver.flags &= ~DATA_UNACKNOWLEDGED


def _note_retransmission(
    tcp: TcpTracking, direction: int, numbers: tuple[int, int, int, int]
) -> None:
    """Count an ACK that says the same again."""
    if tcp.last_dir == direction and numbers == (
        tcp.last_seq,
        tcp.last_ack,
        tcp.last_end,
        tcp.last_win,
    ):
        tcp.retrans += 1
        return
    tcp.last_dir = direction
    tcp.last_seq, tcp.last_ack, tcp.last_end, tcp.last_win = numbers
    tcp.retrans = 0
