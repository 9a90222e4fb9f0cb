"""TCP as IPVS sees it: states, timeouts, checksums.

Kernel: net/netfilter/ipvs/ip_vs_proto_tcp.c.

Theory of operation: the tables give the next state by direction, kind of segment and state. The
client's segments are INPUT; INPUT_ONLY where the server's answers do not pass here. A segment
without RST, SYN, FIN and ACK closes the connection.
"""

from __future__ import annotations

from enum import IntEnum

from netemu.net import Net
from netemu.netfilter.ipvs.conn_table import control_assure, set_activity
from netemu.netfilter.ipvs.connection import IP_VS_CONN_F_NOOUTPUT, IpvsConnection
from netemu.netfilter.ipvs.header import IpvsHeader
from netemu.netfilter.ipvs.protocol import (
    Direction,
    Protocol,
    Rewrite,
    Wish,
    enter_state,
    update_checksum,
)
from netemu.skb import Skb
from netemu.wire.fields import set16
from netemu.wire.ipv4 import IPPROTO_TCP
from netemu.wire.tcp import CHECK, FLAGS, MIN_HEADER_LEN, Flag


class TcpState(IntEnum):
    """IP_VS_TCP_S_*."""

    NONE = 0
    ESTABLISHED = 1
    SYN_SENT = 2
    SYN_RECV = 3
    FIN_WAIT = 4
    TIME_WAIT = 5
    CLOSE = 6
    CLOSE_WAIT = 7
    LAST_ACK = 8
    LISTEN = 9
    SYNACK = 10


ACTIVE = frozenset({TcpState.ESTABLISHED, TcpState.SYN_SENT, TcpState.SYN_RECV, TcpState.SYNACK})
"""States in which a connection counts as active (tcp_state_active_table)."""

TIMEOUTS_S = (2, 900, 120, 60, 120, 120, 10, 60, 30, 120, 120)
"""By state (tcp_timeouts)."""

_LETTERS = {
    "NO": TcpState.NONE, "ES": TcpState.ESTABLISHED, "SS": TcpState.SYN_SENT,
    "SR": TcpState.SYN_RECV, "FW": TcpState.FIN_WAIT, "TW": TcpState.TIME_WAIT,
    "CL": TcpState.CLOSE, "CW": TcpState.CLOSE_WAIT, "LA": TcpState.LAST_ACK,
    "LI": TcpState.LISTEN, "SA": TcpState.SYNACK,
}  # fmt: skip

SYN, FIN, ACK, RST = range(4)
"""Rows of each part of the tables."""

Table = tuple[tuple[tuple[TcpState, ...], ...], ...]


def _table(text: str) -> Table:
    """Read a table: per direction four rows, syn fin ack rst."""
    rows = [tuple(_LETTERS[word] for word in line.split()) for line in text.strip().splitlines()]
    return tuple(tuple(rows[at : at + 4]) for at in range(0, len(rows), 4))


# In state:  NO ES SS SR FW TW CL CW LA LI SA
# First the client's segments, then the server's, then the client's where the server's are unseen.
STATES = _table("""
             SR ES ES SR SR SR SR SR SR SR SR
             CL CW SS TW TW TW CL CW LA LI TW
             ES ES SS ES FW TW CL CW CL LI ES
             CL CL CL SR CL CL CL CL LA LI SR
             SS ES SS SR SS SS SS SS SS LI SR
             TW FW SS TW FW TW CL TW LA LI TW
             ES ES SS ES FW TW CL CW LA ES ES
             CL CL SS CL CL TW CL CL CL CL CL
             SR ES ES SR SR SR SR SR SR SR SR
             CL FW SS TW FW TW CL CW LA LI TW
             ES ES SS ES FW TW CL CW CL LI ES
             CL CL CL SR CL CL CL CL LA LI CL
""")
SECURE_STATES = _table("""
             SR ES ES SR SR SR SR SR SR SR SA
             CL CW SS TW TW TW CL CW LA LI SA
             ES ES SS SR FW TW CL CW CL LI SA
             CL CL CL SR CL CL CL CL LA LI CL
             SS ES SS SA SS SS SS SS SS LI SA
             TW FW SS TW FW TW CL TW LA LI TW
             ES ES SS ES FW TW CL CW LA ES ES
             CL CL SS CL CL TW CL CL CL CL CL
             SA ES ES SR SA SA SA SA SA SA SA
             CL FW SS TW FW TW CL CW LA LI TW
             ES ES SS ES FW TW CL CW CL LI ES
             CL CL CL SR CL CL CL CL LA LI CL
""")
"""With net.ipv4.vs.secure_tcp=3; 1 and 2 depend on free memory, of which netemu has enough."""

SECURE_ALWAYS = 3


def wish(net: Net, skb: Skb, header: IpvsHeader) -> Wish:
    """Let a SYN ask for a server; with sloppy_tcp any segment but a RST (tcp_conn_schedule)."""
    if header.icmp:
        return Wish.SERVER if header.ports(skb.data) is not None else Wish.DROP
    if len(skb.data) < header.l4_offset + MIN_HEADER_LEN:
        return Wish.DROP
    flags = skb.data[header.l4_offset + FLAGS]
    if flags & Flag.RST:
        return Wish.NOTHING
    opens = flags & Flag.SYN or net.sysctl.get("net.ipv4.vs.sloppy_tcp")
    return Wish.SERVER if opens else Wish.NOTHING


def begins(skb: Skb, header: IpvsHeader) -> bool:
    """Return whether the segment has SYN."""
    if len(skb.data) < header.l4_offset + MIN_HEADER_LEN:
        return False
    return bool(skb.data[header.l4_offset + FLAGS] & Flag.SYN)


def transition(
    net: Net, connection: IpvsConnection, direction: Direction, skb: Skb, header: IpvsHeader
) -> None:
    """Move a connection on (set_tcp_state)."""
    if len(skb.data) < header.l4_offset + MIN_HEADER_LEN:
        return
    if connection.flags & IP_VS_CONN_F_NOOUTPUT:
        if direction == Direction.OUTPUT:
            connection.flags &= ~IP_VS_CONN_F_NOOUTPUT
        else:
            direction = Direction.INPUT_ONLY
    row = _row(skb.data[header.l4_offset + FLAGS])
    secure = net.sysctl.get("net.ipv4.vs.secure_tcp") == SECURE_ALWAYS
    table = SECURE_STATES if secure else STATES
    state = TcpState.CLOSE if row is None else table[direction][row][connection.state]
    if state != connection.state:
        set_activity(connection, active=state in ACTIVE)
        if state == TcpState.ESTABLISHED:
            control_assure(connection)
    enter_state(net, TCP, connection, state)


def listen(net: Net, connection: IpvsConnection) -> None:
    """Let a connection wait for its first packet (ip_vs_tcp_conn_listen)."""
    enter_state(net, TCP, connection, TcpState.LISTEN)


def _row(flags: int) -> int | None:
    """Kernel: tcp_state_idx."""
    for flag, row in ((Flag.RST, RST), (Flag.SYN, SYN), (Flag.FIN, FIN), (Flag.ACK, ACK)):
        if flags & flag:
            return row
    return None


def rewrite(skb: Skb, offset: int, change: Rewrite) -> bool:
    """Change one port (tcp_dnat_handler, tcp_snat_handler)."""
    if len(skb.data) < offset + MIN_HEADER_LEN:
        return False
    skb.ensure_writable(offset + MIN_HEADER_LEN)
    set16(skb.data, offset + change.port_offset, change.after[1])
    update_checksum(skb, offset + CHECK, change)
    return True


TCP = Protocol(
    number=IPPROTO_TCP,
    name="TCP",
    kernel="ip_vs_proto_tcp.c",
    states=tuple(state.name for state in TcpState),
    timeouts_s=TIMEOUTS_S,
    wish=wish,
    begins=begins,
    ended_states=frozenset({TcpState.TIME_WAIT, TcpState.CLOSE}),
    ended_unseen_states=frozenset({TcpState.FIN_WAIT}),
    transition=transition,
    rewrite=rewrite,
)
