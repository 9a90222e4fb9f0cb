"""SCTP as IPVS sees it: states by the first chunk, timeouts, CRC.

Kernel: net/netfilter/ipvs/ip_vs_proto_sctp.c. RFC 9260.
"""

from __future__ import annotations

from enum import IntEnum

from netemu.net import Net
from netemu.netfilter.ipvs.conn_table import control_assure, set_activity
from netemu.netfilter.ipvs.connection import IP_VS_CONN_F_NOOUTPUT, IpvsConnection
from netemu.netfilter.ipvs.header import IpvsHeader
from netemu.netfilter.ipvs.protocol import Direction, Protocol, Rewrite, Wish, enter_state
from netemu.skb import Checksum, Skb
from netemu.wire.crc32c import crc32c
from netemu.wire.fields import get16, set16
from netemu.wire.ipv4 import IPPROTO_SCTP

HEADER_LEN = 12
CHUNK_HEADER_LEN = 4

INIT, INIT_ACK, ABORT, COOKIE_ECHO, COOKIE_ACK = 1, 2, 6, 10, 11
"""Chunk types (RFC 9260 section 3.2)."""


class SctpState(IntEnum):
    """IP_VS_SCTP_S_*."""

    NONE = 0
    INIT1 = 1
    INIT = 2
    COOKIE_SENT = 3
    COOKIE_REPLIED = 4
    COOKIE_WAIT = 5
    COOKIE = 6
    COOKIE_ECHOED = 7
    ESTABLISHED = 8
    SHUTDOWN_SENT = 9
    SHUTDOWN_RECEIVED = 10
    SHUTDOWN_ACK_SENT = 11
    REJECTED = 12
    CLOSED = 13


NAMES = (
    "NONE", "INIT1", "INIT", "C-SENT", "C-REPLIED", "C-WAIT", "COOKIE", "C-ECHOED",
    "ESTABLISHED", "S-SENT", "S-RECEIVED", "S-ACK-SENT", "REJECTED", "CLOSED",
)  # fmt: skip
"""By state (sctp_state_name_table)."""

TIMEOUTS_S = (2, 4, 61, 61, 61, 61, 61, 61, 900, 61, 61, 61, 4, 61)
"""By state (sctp_timeouts)."""

_LETTERS = dict(
    zip(
        ["NO", "I1", "IN", "CS", "CR", "CW", "CO", "CE", "ES", "SS", "SR", "SA", "RJ", "CL"],
        SctpState,
        strict=True,
    )
)

_EVENTS = (0, 1, 2, 0, 0, 0, 9, 5, 6, 8, 3, 4, 0, 0, 7)
"""Row of the tables by chunk type (sctp_events); other chunks count as data."""


def _table(text: str) -> tuple[tuple[tuple[SctpState, ...], ...], ...]:
    rows = [tuple(_LETTERS[word] for word in line.split()) for line in text.strip().splitlines()]
    return tuple(tuple(rows[at : at + 10]) for at in range(0, len(rows), 10))


# Rows: data, INIT, INIT ACK, COOKIE ECHO, COOKIE ACK, SHUTDOWN, SHUTDOWN ACK, SHUTDOWN COMPLETE,
# ERROR, ABORT; for the client's packets, the server's, the client's where the server's are unseen.
# In state: NO I1 IN CS CR CW CO CE ES SS SR SA RJ CL
STATES = _table("""
            ES I1 IN CS CR CW CO CE ES SS SR SA RJ CL
            I1 IN IN CS CR CW CO CE ES SS SR SA IN IN
            CW CW CW CS CR CO CO CE ES SS SR SA RJ CL
            CR IN IN CR CR CW CO CE ES SS SR SA RJ CL
            ES I1 IN CS CR CW CO ES ES SS SR SA RJ CL
            SR I1 IN CS CR CW CO CE SR SS SR SA RJ CL
            CL IN IN CS CR CW CO CE ES CL SR CL RJ CL
            CL CL CL CS CR CW CO CE ES SS SR CL RJ CL
            CL I1 IN CS CR CW CO CL ES SS SR SA RJ CL
            CL CL CL CL CL RJ CL CL CL CL CL CL CL CL
            ES I1 IN CS CR CW CO CE ES SS SR SA RJ CL
            CW CW CW CW CW CW CW CW ES CW CW CW CW CW
            CS CS CS CS CR CW CO CE ES SS SR SA RJ CL
            CE CE CE CE CE CE CE CE ES SS SR SA RJ CL
            ES ES ES ES ES ES ES ES ES SS SR SA RJ CL
            SS SS SS SS SS SS SS SS SS SS SR SA RJ CL
            SA SA SA SA SA CW CO CE ES SA SA SA RJ CL
            CL I1 IN CS CR CW CO CE ES SS SR SA RJ CL
            CL CL CL CL CL CW CO CE ES SS SR SA RJ CL
            CL RJ CL CL CL CL CL CL CL CL CL CL CL CL
            ES I1 IN CS CR ES CO CE ES SS SR SA RJ CL
            I1 IN IN IN IN IN CO CE ES SS SR SA IN IN
            CE CE CE CE CE CE CO CE ES SS SR SA RJ CL
            ES ES ES ES ES ES CO CE ES SS SR SA RJ CL
            ES I1 IN ES ES CW ES ES ES SS SR SA RJ CL
            SR I1 IN CS CR CW CO CE SR SS SR SA RJ CL
            CL IN IN CS CR CW CO CE CL CL SR CL RJ CL
            CL CL CL CL CL CW CO CE ES SS CL CL RJ CL
            CL I1 IN CS CR CW CO CE ES SS SR SA RJ CL
            CL CL CL CL CL RJ CL CL CL CL CL CL CL CL
""")


def _chunk_type(skb: Skb, offset: int) -> int | None:
    """Return the type of the chunk at an offset; None when there is none."""
    if len(skb.data) < offset + CHUNK_HEADER_LEN:
        return None
    return skb.data[offset]


def wish(net: Net, skb: Skb, header: IpvsHeader) -> Wish:
    """Let an INIT ask for a server; with sloppy_sctp any chunk but ABORT (sctp_conn_schedule)."""
    if header.icmp:
        return Wish.SERVER if header.ports(skb.data) is not None else Wish.DROP
    kind = _chunk_type(skb, header.l4_offset + HEADER_LEN)
    if kind is None:
        return Wish.DROP
    if kind == ABORT:
        return Wish.NOTHING
    opens = kind == INIT or net.sysctl.get("net.ipv4.vs.sloppy_sctp")
    return Wish.SERVER if opens else Wish.NOTHING


def begins(skb: Skb, header: IpvsHeader) -> bool:
    """Return whether the first chunk is an INIT."""
    return _chunk_type(skb, header.l4_offset + HEADER_LEN) == INIT


def transition(
    net: Net, connection: IpvsConnection, direction: Direction, skb: Skb, header: IpvsHeader
) -> None:
    """Move an association on (set_sctp_state)."""
    offset = header.l4_offset + HEADER_LEN
    kind = _chunk_type(skb, offset)
    if kind is None:
        return
    if kind in {COOKIE_ECHO, COOKIE_ACK}:
        # An ABORT may be bundled behind them.
        length = get16(skb.data, offset + 2)
        if length >= CHUNK_HEADER_LEN and (
            _chunk_type(skb, offset + (length + 3) // 4 * 4) == ABORT
        ):
            kind = ABORT
    if connection.flags & IP_VS_CONN_F_NOOUTPUT:
        if direction == Direction.OUTPUT:
            connection.flags &= ~IP_VS_CONN_F_NOOUTPUT
        else:
            direction = Direction.INPUT_ONLY
    row = _EVENTS[kind] if kind < len(_EVENTS) else 0
    state = STATES[direction][row][connection.state]
    if state != connection.state:
        set_activity(connection, active=state == SctpState.ESTABLISHED)
        if state == SctpState.ESTABLISHED:
            control_assure(connection)
    enter_state(net, SCTP, connection, state)


def rewrite(skb: Skb, offset: int, change: Rewrite) -> bool:
    """Change one port; the CRC is computed only when it differs (sctp_dnat_handler)."""
    data = skb.data
    if len(data) < offset + HEADER_LEN:
        return False
    skb.ensure_writable(offset + HEADER_LEN)
    at = offset + change.port_offset
    if get16(data, at) == change.after[1] and skb.ip_summed != Checksum.PARTIAL:
        return True
    set16(data, at, change.after[1])
    data[offset + 8 : offset + 12] = bytes(4)
    data[offset + 8 : offset + 12] = crc32c(data[offset:]).to_bytes(4, "little")
    skb.ip_summed = Checksum.UNNECESSARY
    return True


SCTP = Protocol(
    number=IPPROTO_SCTP,
    name="SCTP",
    kernel="ip_vs_proto_sctp.c",
    states=NAMES,
    timeouts_s=TIMEOUTS_S,
    wish=wish,
    begins=begins,
    ended_states=frozenset({SctpState.CLOSED}),
    transition=transition,
    rewrite=rewrite,
)
