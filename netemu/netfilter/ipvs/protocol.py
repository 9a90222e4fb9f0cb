"""The shape of a protocol that IPVS balances.

Kernel: include/net/ip_vs.h (struct ip_vs_protocol), net/netfilter/ipvs/ip_vs_proto.c.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, IntEnum

from msgspec import Struct

from netemu.net import Net
from netemu.netfilter.ipvs.connection import IP_VS_CONN_F_TEMPLATE, IpvsConnection
from netemu.netfilter.ipvs.header import IpvsHeader
from netemu.netfilter.ipvs.table import Ipvs
from netemu.skb import Checksum, Skb
from netemu.wire.checksum import csum_replace, csum_replace2, fold
from netemu.wire.fields import get16, set16


class Direction(IntEnum):
    """Which way a packet goes, and whether answers are seen (IP_VS_DIR_*)."""

    INPUT = 0
    OUTPUT = 1
    INPUT_ONLY = 2


class Wish(Enum):
    """What a packet without a connection asks for."""

    SERVER = "a real server"
    NOTHING = "to go on as if there were no IPVS"
    DROP = "nothing: it is too short"


class Rewrite(Struct):
    """One side of a packet that gets another address and port."""

    port_offset: int
    """0 for the source, 2 for the destination, from the L4 header."""
    before: tuple[bytes, int]
    after: tuple[bytes, int]
    peer: bytes
    """The address of the other side, for checksums that are computed anew."""


def dnat_of(connection: IpvsConnection) -> Rewrite:
    """Return how a request is rewritten."""
    before = (connection.vaddr, connection.vport)
    return Rewrite(2, before, (connection.daddr, connection.dport), connection.caddr)


def snat_of(connection: IpvsConnection) -> Rewrite:
    """Return how an answer is rewritten."""
    before = (connection.daddr, connection.dport)
    return Rewrite(0, before, (connection.vaddr, connection.vport), connection.caddr)


RewriteFunction = Callable[[Skb, int, Rewrite], bool]
"""Changes port and L4 checksum at an offset; False when the packet is too short."""


class Protocol(Struct, frozen=True, kw_only=True):
    """One protocol's declaration (struct ip_vs_protocol)."""

    number: int
    name: str
    kernel: str
    states: tuple[str, ...]
    """Names by number."""
    timeouts_s: tuple[int, ...]
    """By state."""
    wish: Callable[[Net, Skb, IpvsHeader], Wish]
    begins: Callable[[Skb, IpvsHeader], bool]
    """Whether the packet opens a connection (is_new_conn)."""
    ended_states: frozenset[int] = frozenset()
    """States in which a new connection may come from the same port (is_new_conn_expected)."""
    ended_unseen_states: frozenset[int] = frozenset()
    """More such states where answers are not seen, with conn_reuse_mode 2."""
    transition: Callable[[Net, IpvsConnection, Direction, Skb, IpvsHeader], None] | None = None
    rewrite: RewriteFunction | None = None
    has_ports: bool = True
    """Connections are found by ports; AH and ESP belong to that of ISAKMP."""


def state_name(protocol: Protocol | None, connection: IpvsConnection) -> str:
    """Return the state as ipvsadm -Lc prints it (ip_vs_state_name)."""
    if connection.flags & IP_VS_CONN_F_TEMPLATE:
        return "ASSURED" if connection.state else "NONE"
    if protocol is None or connection.state >= len(protocol.states):
        return "ERR!"
    return protocol.states[connection.state]


def enter_state(net: Net, protocol: Protocol, connection: IpvsConnection, state: int) -> None:
    """Give a connection a state and that state's timeout."""
    changed = net.generic(Ipvs).timeouts_s.get(protocol.number, {})
    seconds = changed.get(state, protocol.timeouts_s[state])
    connection.state = state
    connection.timeout = seconds * net.clock.hz


def update_checksum(skb: Skb, at: int, change: Rewrite) -> None:
    """Update an L4 checksum for a changed address and port (tcp_fast_csum_update)."""
    data = skb.data
    check = get16(data, at)
    (old, old_port), (new, new_port) = change.before, change.after
    if skb.ip_summed == Checksum.PARTIAL:
        # It holds the pseudo header's sum, in which ports do not count.
        for index in range(0, len(new), 2):
            check += (~get16(old, index) & 0xFFFF) + get16(new, index)
        set16(data, at, fold(check))
        return
    set16(data, at, csum_replace2(csum_replace(check, old, new), old_port, new_port))
