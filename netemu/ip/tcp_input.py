"""Segments of open connections: what is refused, what acknowledgements and data do.

Kernel: net/ipv4/tcp_input.c (tcp_rcv_established, tcp_rcv_state_process, tcp_validate_incoming,
tcp_ack, tcp_data_queue, tcp_fin, __tcp_ack_snd_check).

Theory of operation: a segment that is just what was expected (header prediction) takes a short way,
on which one without data cannot set off an ACK that is due already. All others are looked at whole.
"""

from __future__ import annotations

from netemu.ip.tcp_end import Connections, give_up, wake
from netemu.ip.tcp_ofo_tree import Held
from netemu.ip.tcp_options import TcpOptions
from netemu.ip.tcp_output import (
    arm_retransmission,
    jiffies_of,
    tcp_push,
    tcp_retransmit,
    tcp_send_ack,
    tcp_send_compressed_ack,
    tcp_send_delayed_ack,
)
from netemu.ip.tcp_program import ProgramEnd
from netemu.ip.tcp_segment import Segment
from netemu.ip.tcp_sock import (
    INVALID_RATELIMIT_MS,
    MASK32,
    ON_FIN,
    ON_FIN_ACKED,
    TCP_TIMEWAIT_NS,
    TcpSock,
    TcpState,
    before,
)
from netemu.ip.tcp_window import Buffer, buffer_of
from netemu.net import Net
from netemu.wire.fields import get16
from netemu.wire.tcp import URGENT, Flag

ABORT_ON_DATA = "TCP_ABORT_ON_DATA"
"""Drop reason of data behind a FIN; the connection is reset."""

TCP_PAWS_WINDOW = 1
"""So far a time stamp may be behind (include/net/tcp.h)."""

GROWING_SIZE = 128
"""Least payload that lets the window grow."""

TCP_FASTRETRANS_THRESH = 3
"""ACKs about one gap that leave one by one."""


def tcp_rcv(net: Net, connections: Connections, sock: TcpSock, segment: Segment) -> str:
    """Take a segment of an open connection; why it was dropped, or empty."""
    flags = segment.flags
    if not flags & (Flag.ACK | Flag.RST | Flag.SYN):
        return "TCP_FLAGS"
    expected = sock.state == TcpState.ESTABLISHED and _is_predicted(sock, segment)
    # Data for which no memory is set aside take the long way from here on.
    buffer = buffer_of(segment.skb)
    short = expected and (not segment.payload or sock.rcv.fits(buffer.truesize))
    if short:
        _note_stamp(sock, segment)
    elif not expected:
        refused = _validate_incoming(net, connections, sock, segment)
        if refused or flags & Flag.RST:
            return refused
    if short and segment.payload:
        return _expected_data(net, connections, sock, segment, buffer)
    refused = _ack(net, connections, sock, segment, noted=short)
    if refused:
        _challenge(net, sock, segment)
        return refused
    reason = ""
    if not short:
        _urgent(sock, segment)
        reason = _data(net, connections, sock, segment, buffer)
    if not connections.holds(sock) or sock.state == TcpState.TIME_WAIT:
        return reason
    tcp_push(net, sock, lambda: give_up(connections, sock))
    if not short:
        _ack_snd_check(net, sock, segment)
    return reason


def _expected_data(
    net: Net, connections: Connections, sock: TcpSock, segment: Segment, buffer: Buffer
) -> str:
    """Take data that was expected; even if the acknowledgement in it makes no sense."""
    _accept(net, connections, sock, segment, buffer)
    if _ack(net, connections, sock, segment, noted=True):
        _challenge(net, sock, segment)
    if connections.holds(sock):
        tcp_push(net, sock, lambda: give_up(connections, sock))
        _ack_snd_check(net, sock, segment)
    return ""


def _is_predicted(sock: TcpSock, segment: Segment) -> bool:
    """Return whether a segment is what was expected in all."""
    if segment.flags & ~Flag.PSH != Flag.ACK or segment.window != sock.predicted:
        return False
    if segment.seq != sock.queue.end or before(sock.snd_nxt, segment.ack):
        return False
    if segment.header_len != sock.header_len:
        return False
    stamp = segment.options.timestamp
    return not sock.timestamps or (stamp is not None and not before(stamp[0], sock.ts_recent))


# what is refused


def _validate_incoming(net: Net, connections: Connections, sock: TcpSock, segment: Segment) -> str:
    """Check time stamp, sequence, RST and SYN (RFC 5961); why it is refused, or empty."""
    flags = segment.flags
    refused = _stale(sock, segment)
    if flags & Flag.RST or not refused:
        refused = _out_of_place(sock, segment)
        if refused and flags & Flag.RST:
            if not sock.accepts_late_rst(segment.seq):
                return refused
            _reset(connections, sock)
            return ""
    if refused and not flags & Flag.SYN:
        if refused != OLD_ACK:
            _send_dupack(net, sock, segment)
        return refused
    if flags & Flag.RST:
        if sock.accepts_rst(segment.seq):
            _reset(connections, sock)
            return ""
        _challenge(net, sock, segment)
        return "TCP_RESET"
    if flags & Flag.SYN:
        _challenge(net, sock, segment)
        return "TCP_INVALID_SYN"
    return ""


STALE, OLD_ACK = "TCP_RFC7323_PAWS", "TCP_RFC7323_PAWS_ACK"


def paws_check(recent: int, options: TcpOptions, window: int = 0) -> bool:
    """Return whether a time stamp is new enough beside the latest one (tcp_paws_check)."""
    stamp = options.timestamp
    if stamp is None or not recent:
        return True
    behind = (recent - stamp[0]) & MASK32
    return behind <= window or behind > MASK32 >> 1


def _stale(sock: TcpSock, segment: Segment) -> str:
    """Return why a time stamp is too old, or empty (tcp_disordered_ack_check)."""
    if not sock.timestamps or paws_check(sock.ts_recent, segment.options, TCP_PAWS_WINDOW):
        return ""
    out, stamp = sock.out, segment.options.timestamp
    assert out is not None
    assert stamp is not None
    if not segment.flags & Flag.ACK or segment.seq != segment.end_seq:
        return STALE
    if segment.seq != sock.queue.end:
        return OLD_ACK if before(segment.seq, sock.queue.end) else STALE
    if segment.ack != out.una or _updates_window(sock, segment):
        return STALE
    replay_ms = out.rto_ns * 12 // 10_000_000
    behind = (sock.ts_recent - stamp[0]) & MASK32
    return STALE if replay_ms < behind <= MASK32 >> 1 else ""


def _out_of_place(sock: TcpSock, segment: Segment) -> str:
    """Return why a segment lies outside of the window, or empty (tcp_sequence)."""
    if before(segment.end_seq, sock.rcv_wup):
        return "TCP_OLD_SEQUENCE"
    edge = (sock.queue.end + sock.receive_window()) & MASK32
    if before(edge, segment.seq):
        return "TCP_INVALID_SEQUENCE"
    if before(edge, segment.end_seq) and sock.unread:
        return "TCP_INVALID_END_SEQUENCE"
    return ""


def _reset(connections: Connections, sock: TcpSock) -> None:
    """End a connection by the peer's RST (tcp_reset)."""
    connections.fail(sock, "EPIPE" if sock.state == TcpState.CLOSE_WAIT else "ECONNRESET")


def _send_dupack(net: Net, sock: TcpSock, segment: Segment) -> None:
    """Acknowledge a segment out of place again, telling what it repeated."""
    if rate_limited(net, sock, segment):
        return
    seq, end_seq = segment.seq, segment.end_seq
    if seq != end_seq and before(seq, sock.queue.end):
        sock.acks.be_quick(sock.rcv.window)
        sock.early.repeats(seq, sock.queue.end if before(sock.queue.end, end_seq) else end_seq)
    tcp_send_ack(net, sock, segment.skb.fate)


def _challenge(net: Net, sock: TcpSock, segment: Segment) -> None:
    """Ask the peer whether it meant that (RFC 5961), not too often."""
    if not oow_limited(net, sock):
        tcp_send_ack(net, sock, segment.skb.fate)


def rate_limited(net: Net, sock: TcpSock, segment: Segment) -> bool:
    """Return whether to be silent; segments with data are always answered."""
    if segment.seq != segment.end_seq and not segment.flags & Flag.SYN:
        return False
    return oow_limited(net, sock)


def oow_limited(net: Net, sock: TcpSock) -> bool:
    """Return whether an answer to nonsense follows the last one too soon."""
    now, last = net.clock.jiffies, sock.last_oow_ack
    pause = INVALID_RATELIMIT_MS * net.clock.hz // 1000
    if last is not None and now - last < pause:
        return True
    sock.last_oow_ack = now
    return False


# acknowledgements


def _updates_window(sock: TcpSock, segment: Segment) -> bool:
    """Return whether a segment may tell a new window (tcp_may_update_window)."""
    out = sock.out
    assert out is not None
    window = segment.window << sock.peer_scale
    return (
        before(out.una, segment.ack)
        or before(sock.snd_wl1, segment.seq)
        or (segment.seq == sock.snd_wl1 and (window > out.window or not window))
    )


def _ack(
    net: Net, connections: Connections, sock: TcpSock, segment: Segment, *, noted: bool
) -> str:
    """Take the acknowledgement, and the time stamp if nobody `noted` it yet (tcp_ack).

    What is wrong with it, or empty.
    """
    out = sock.out
    assert out is not None
    if before(segment.ack, out.una):
        oldest = (out.una - min(sock.max_window, out.acked)) & MASK32
        return "TCP_TOO_OLD_ACK" if before(segment.ack, oldest) else ""
    if before(out.nxt, segment.ack):
        return "TCP_ACK_UNSENT_DATA"
    if not noted and paws_check(sock.ts_recent, segment.options):
        _note_stamp(sock, segment)
    new_window = _updates_window(sock, segment)
    changed = new_window and _take_window(sock, segment)
    if segment.ack == out.una:
        silent = segment.seq == segment.end_seq and not changed
        if silent and out.in_flight:
            sock.confirms = True
            tcp_retransmit(net, sock, out.duplicate())
        return ""
    sock.confirms = True
    finished = out.acknowledge(segment.ack, net.clock.now_ns)
    tcp_retransmit(net, sock, out.next_hole())
    arm_retransmission(net, sock, lambda: give_up(connections, sock))
    if finished:
        _fin_acked(net, connections, sock)
    return ""


def _note_stamp(sock: TcpSock, segment: Segment) -> None:
    """Remember a time stamp for our next ACK (tcp_store_ts_recent)."""
    stamp = segment.options.timestamp
    if stamp is not None and sock.timestamps and not before(sock.rcv_wup, segment.seq):
        sock.ts_recent = stamp[0]


def _take_window(sock: TcpSock, segment: Segment) -> bool:
    """Take the peer's window; whether it is another one (tcp_ack_update_window)."""
    out = sock.out
    assert out is not None
    sock.snd_wl1 = segment.seq
    window = segment.window << sock.peer_scale
    if window == out.window:
        return False
    out.window = window
    sock.max_window = max(sock.max_window, window)
    sock.predicted = None
    sock.predict()
    return True


def _fin_acked(net: Net, connections: Connections, sock: TcpSock) -> None:
    """Go on once the peer has our FIN (tcp_rcv_state_process)."""
    if sock.state == TcpState.LAST_ACK:
        connections.remove(sock)
        return
    sock.state = ON_FIN_ACKED[sock.state]
    _linger(net, connections, sock)


def _linger(net: Net, connections: Connections, sock: TcpSock) -> None:
    """Forget a connection that our program has closed in a minute (tcp_time_wait)."""
    if sock.rtx_timer is not None:
        sock.rtx_timer.cancel()
    sock.rtx_timer = net.clock.add_timer(TCP_TIMEWAIT_NS, lambda: connections.remove(sock))


# data


def _urgent(sock: TcpSock, segment: Segment) -> None:
    """Note an urgent octet: nothing is predicted until it was read (tcp_check_urg)."""
    if not segment.flags & Flag.URG or sock.program is not None:
        return
    skb = segment.skb
    pointer = get16(skb.data, skb.transport_offset + URGENT)
    number = (segment.seq + max(pointer - 1, 0)) & MASK32
    newer = sock.urgent is None or before(sock.urgent, number)
    if newer and not before(number, sock.queue.end):
        sock.urgent = number
        sock.predicted = None


def _data(
    net: Net, connections: Connections, sock: TcpSock, segment: Segment, buffer: Buffer
) -> str:
    """Take data and FIN; why they are dropped, or empty (tcp_data_queue)."""
    seq, end_seq = segment.seq, segment.end_seq
    if seq == end_seq:
        return ""
    if sock.peer_finished:
        if not before(seq, sock.queue.end):
            return "NOT_SPECIFIED"
        if before(sock.queue.end, (end_seq - segment.fin) & MASK32):
            connections.remove(sock)
            return ABORT_ON_DATA
    window, acks, early = sock.receive_window(), sock.acks, sock.early
    if seq != sock.queue.end and not before(sock.queue.end, end_seq):
        early.repeats(seq, end_seq)
        reason = "TCP_OLD_DATA"
    elif not before(seq, (sock.queue.end + window) & MASK32) and (
        seq != sock.queue.end or segment.payload
    ):
        reason = "TCP_ZEROWINDOW" if seq == sock.queue.end else "TCP_OVERWINDOW"
    elif before(sock.queue.end, seq):
        sock.predicted = None
        acks.scheduled = True
        truesize = buffer.truesize
        sock.rcv.schedule(truesize)
        _measure(sock, segment, truesize)
        if early.hold(Held(seq, end_seq, buffer, fin=segment.fin)):
            if sock.sack:
                _grow(sock, segment, truesize)
            sock.rcv.charge(buffer.truesize)
        if sock.program is not None:
            _keep(sock.program, segment, sock.queue.end)
        return ""
    else:
        if before(seq, sock.queue.end):
            early.repeats(seq, sock.queue.end)
        _accept(net, connections, sock, segment, buffer)
        return ""
    acks.be_quick(sock.rcv.window)
    acks.scheduled = True
    return reason


def _accept(
    net: Net, connections: Connections, sock: TcpSock, segment: Segment, buffer: Buffer
) -> None:
    """Take what continues the stream, and what waited for it."""
    acks, early, queue, size = sock.acks, sock.early, sock.queue, len(segment.payload)
    expected = queue.end
    sock.rcv.schedule(buffer.truesize)
    truesize = buffer.truesize
    if not queue.joins(segment.seq, segment.end_seq, size):
        queue.add(segment.end_seq, buffer)
        sock.rcv.charge(truesize)
    sock.unread = sock.program is None
    if size:
        _note_data(net, sock, segment, truesize)
    if sock.program is not None:
        _keep(sock.program, segment, expected)
    if segment.fin:
        _fin(net, connections, sock, segment)
    if early:
        if early.drain(queue):
            _fin(net, connections, sock, segment)
        acks.now |= not early
    early.forget_before(queue.end)
    sock.predict()
    wake(net, sock)


def _note_data(net: Net, sock: TcpSock, segment: Segment, truesize: int) -> None:
    """Adapt ACKs and window to data (tcp_event_data_recv)."""
    acks = sock.acks
    acks.scheduled = True
    _measure(sock, segment, truesize)
    acks.note_data(net.clock.jiffies, window=sock.rcv.window, rto=_rto(net, sock))
    if len(segment.payload) >= GROWING_SIZE:
        _grow(sock, segment, truesize)


def _measure(sock: TcpSock, segment: Segment, truesize: int) -> None:
    """Learn from a segment how large the peer's are, and what they take (tcp_measure_rcv_mss)."""
    size = len(segment.payload)
    if sock.acks.measure(
        size, segment.header_len, segment.flags, usual_len=sock.header_len, mss=sock.advmss
    ):
        sock.rcv.learn_ratio(size, truesize)


def _grow(sock: TcpSock, segment: Segment, truesize: int) -> None:
    """Let the window grow; that is told soon (tcp_grow_window)."""
    acks = sock.acks
    size = len(segment.payload)
    if sock.rcv.grow(size, truesize, mss=sock.advmss, rcv_mss=acks.rcv_mss):
        acks.quick |= 1


def _rto(net: Net, sock: TcpSock) -> int:
    assert sock.out is not None
    return jiffies_of(net, sock.out.rto_ns)


def _fin(net: Net, connections: Connections, sock: TcpSock, segment: Segment) -> None:
    """Take the peer's FIN: nothing may come behind it (tcp_fin)."""
    sock.acks.scheduled = True
    if sock.state in ON_FIN:
        closing = sock.state != TcpState.ESTABLISHED
        if closing:
            tcp_send_ack(net, sock, segment.skb.fate)
        else:
            sock.acks.pingpong = True
        sock.state = ON_FIN[sock.state]
        if sock.state == TcpState.TIME_WAIT:
            _linger(net, connections, sock)
    sock.peer_finished = True
    sock.early.clear()


def _ack_snd_check(net: Net, sock: TcpSock, segment: Segment) -> None:
    """Acknowledge now or later (__tcp_ack_snd_check)."""
    acks, cause = sock.acks, segment.skb.fate
    if not acks.scheduled:
        return
    unacked = (sock.queue.end - sock.rcv_wup) & MASK32
    moves = unacked > acks.rcv_mss and sock.window_moves()
    if moves or (acks.quick and not acks.pingpong) or acks.now:
        tcp_send_ack(net, sock, cause)
        return
    if not sock.early:
        tcp_send_delayed_ack(net, sock, cause)
        return
    if acks.repeated_at != sock.queue.end:
        acks.repeated_at = sock.queue.end
        acks.repeated = 0
    most = net.sysctl.get("net.ipv4.tcp_comp_sack_nr")
    if not sock.sack or acks.compressed >= most:
        tcp_send_ack(net, sock, cause)
    elif acks.repeated < TCP_FASTRETRANS_THRESH:
        acks.repeated += 1
        tcp_send_ack(net, sock, cause)
    else:
        acks.compressed += 1
        if acks.compressed == 1:
            tcp_send_compressed_ack(net, sock, cause)


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
