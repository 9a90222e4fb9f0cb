"""TCP segments of our own: their headers, their options, and when an ACK goes by itself.

Kernel: net/ipv4/tcp_output.c (__tcp_transmit_skb, tcp_send_ack, tcp_send_delayed_ack,
tcp_push, tcp_send_fin), net/ipv4/tcp_timer.c (tcp_delack_timer_handler, tcp_retransmit_timer).
"""

from __future__ import annotations

from collections.abc import Callable

from netemu.clock import NSEC_PER_SEC
from netemu.ip.fib_table import Errno, Flowi4
from netemu.ip.options_echo import ip_options_build
from netemu.ip.output import ip_local_out
from netemu.ip.route import ip_route_output_key
from netemu.ip.tcp_options import ack_options
from netemu.ip.tcp_sender import Piece
from netemu.ip.tcp_sock import MASK32, TcpSock
from netemu.link.device import skb_leave_checksum
from netemu.net import Net, skb_made
from netemu.skb import ETH_P_IP, Fate, Skb
from netemu.wire.ipv4 import IPPROTO_TCP, build_ipv4
from netemu.wire.tcp import Flag, build_tcp


def reply_key(remote: bytes, remote_port: int, local: bytes, local_port: int) -> Flowi4:
    """Return what the route of a connection's segments is looked up for."""
    return Flowi4(
        daddr=remote,
        saddr=local,
        protocol=IPPROTO_TCP,
        src_port=local_port,
        dst_port=remote_port,
    )


def tcp_transmit(  # noqa: PLR0913 - the fields of a segment
    net: Net,
    sock: TcpSock,
    cause: Fate | None,
    what: str,
    *,
    flags: int,
    seq: int,
    window: int,
    options: bytes,
    identification: int,
    payload: bytes = b"",
) -> bool:
    """Send a segment of a connection (__tcp_transmit_skb); False when it cannot leave."""
    ip_options = sock.ip_options
    first_hop = b"" if ip_options is None else ip_options.first_hop
    flow = reply_key(first_hop or sock.remote, sock.remote_port, sock.local, sock.local_port)
    flow.any_source = sock.transparent
    route = ip_route_output_key(net, flow)
    if isinstance(route, Errno):
        return False
    segment = build_tcp(
        src=sock.local,
        dst=sock.remote,
        src_port=sock.local_port,
        dst_port=sock.remote_port,
        seq=seq,
        ack=sock.queue.end if flags & Flag.ACK else 0,
        flags=flags,
        window=window,
        options=options,
        payload=payload,
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
    skb.dst_pending_confirm = sock.confirms
    sock.confirms = False
    skb.sk = sock.owner
    skb.dst = route
    skb_made(net, skb, what)
    return ip_local_out(net, skb)


def timestamp_of(net: Net, sock: TcpSock) -> tuple[int, int] | None:
    """Return the time stamp option of the next segment, None without."""
    if not sock.timestamps:
        return None
    milliseconds = (net.clock.now_ns - net.clock.start_ns) // 1_000_000
    return (milliseconds + sock.ts_offset) & MASK32, sock.ts_recent


def tcp_send_ack(net: Net, sock: TcpSock, cause: Fate | None, flags: int = 0) -> None:
    """Acknowledge what arrived; `flags` may add a RST (tcp_send_ack, tcp_send_active_reset)."""
    _send_established(net, sock, cause, "tcp rst" if flags & Flag.RST else "tcp ack", flags)


def _send_established(  # noqa: PLR0913 - the fields of a segment
    net: Net,
    sock: TcpSock,
    cause: Fate | None,
    what: str,
    flags: int = 0,
    *,
    seq: int | None = None,
    payload: bytes = b"",
) -> None:
    blocks = sock.early.told()
    options = ack_options(timestamp=timestamp_of(net, sock), sack_blocks=blocks)
    window = sock.advertised_window()
    sock.acks.sent()
    identification = sock.ip_id
    sock.ip_id = (identification + 1) & 0xFFFF
    tcp_transmit(
        net,
        sock,
        cause,
        what,
        flags=int(Flag.ACK) | flags,
        seq=sock.snd_nxt if seq is None else seq,
        window=window,
        options=options,
        identification=identification,
        payload=payload,
    )


def jiffies_of(net: Net, duration_ns: int) -> int:
    """Return a duration in jiffies, rounded up (usecs_to_jiffies)."""
    return -(-duration_ns * net.clock.hz // NSEC_PER_SEC)


def tcp_send_delayed_ack(net: Net, sock: TcpSock, cause: Fate | None) -> None:
    """Acknowledge a little later, or with the next segment."""
    clock, acks, out = net.clock, sock.acks, sock.out
    assert out is not None
    now = clock.jiffies
    ato = acks.delay(jiffies_of(net, out.srtt_ns) if out.srtt_ns else None)
    timeout = now + ato
    if acks.timeout is not None:
        if acks.timeout <= now + ato // 4:
            tcp_send_ack(net, sock, cause)
            return
        timeout = min(timeout, acks.timeout)
    acks.scheduled = True
    acks.timeout = timeout
    _reset_timer(net, sock, cause, timeout)


def _reset_timer(net: Net, sock: TcpSock, cause: Fate | None, expires: int) -> None:
    """Set the timer of delayed ACKs; one that is set for that jiffy keeps its turn (mod_timer)."""
    clock, acks = net.clock, sock.acks
    if sock.timer is None or acks.expires != expires:
        sock.cancel_timer()
        acks.expires = expires
        delay = clock.jiffies_to_ns(expires - clock.jiffies)
        sock.timer = clock.add_timer(delay, lambda: _delack_timer(net, sock, cause))


def _delack_timer(net: Net, sock: TcpSock, cause: Fate | None) -> None:
    """Send the ACK that nothing carried; an ACK that left has not stopped the timer."""
    sock.timer = None
    out, timeout = sock.out, sock.acks.timeout
    assert out is not None
    if timeout is None:
        return
    if timeout > net.clock.jiffies:
        _reset_timer(net, sock, cause, timeout)
        return
    sock.acks.missed(jiffies_of(net, out.rto_ns))
    tcp_send_ack(net, sock, cause)


def tcp_send_compressed_ack(net: Net, sock: TcpSock, cause: Fate | None) -> None:
    """Tell early data a twentieth of a round trip later, all as one (tcp_compressed_ack_kick).

    Differs from Linux: the receiver never measures a round trip, so that is at the end of this
    instant; Linux' timer may take a tenth of a millisecond.
    """

    def expired() -> None:
        if sock.acks.compressed:
            tcp_send_ack(net, sock, cause)

    net.clock.call_later(0, expired)


def tcp_push(
    net: Net, sock: TcpSock, give_up: Callable[[], None], *, by_program: bool = False
) -> None:
    """Send what may be sent now (tcp_write_xmit); `give_up` runs when the peer stays silent.

    When a program sends, the softirqs that a segment sets off run before the next one is sent
    (local_bh_enable).
    """
    out = sock.out
    assert out is not None
    while (piece := out.next_segment()) is not None:
        out.note_sent(piece, net.clock.now_ns)
        _send_piece(net, sock, piece)
        if by_program:
            net.clock.run_soon()
    if out.in_flight and sock.rtx_timer is None:
        arm_retransmission(net, sock, give_up)


def _send_piece(net: Net, sock: TcpSock, piece: Piece) -> None:
    flags = (Flag.PSH if piece.push else 0) | (Flag.FIN if piece.fin else 0)
    if piece.payload and net.clock.jiffies - sock.acks.last_data < sock.acks.ato:
        # A reply soon after what arrived (tcp_event_data_sent).
        sock.acks.pingpong = True
    what = "tcp data" if piece.payload else "tcp fin"
    _send_established(net, sock, None, what, int(flags), seq=piece.seq, payload=piece.payload)


def tcp_retransmit(net: Net, sock: TcpSock, piece: Piece | None) -> None:
    """Send a segment once more, if there is one."""
    if piece is not None:
        _send_piece(net, sock, piece)


def arm_retransmission(net: Net, sock: TcpSock, give_up: Callable[[], None]) -> None:
    """Set the timer for what is in flight anew, or stop it (tcp_rearm_rto)."""
    out = sock.out
    assert out is not None
    if sock.rtx_timer is not None:
        sock.rtx_timer.cancel()
        sock.rtx_timer = None
    if not out.in_flight:
        return

    def expired() -> None:
        sock.rtx_timer = None
        piece = out.timeout()
        if piece is None:
            give_up()
            return
        tcp_retransmit(net, sock, piece)
        arm_retransmission(net, sock, give_up)

    sock.rtx_timer = net.clock.add_timer(out.wait_ns(), expired)
