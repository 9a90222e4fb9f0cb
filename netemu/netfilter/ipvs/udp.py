"""UDP as IPVS sees it: one state, one timeout.

Kernel: net/netfilter/ipvs/ip_vs_proto_udp.c.
"""

from __future__ import annotations

from netemu.net import Net
from netemu.netfilter.ipvs.conn_table import control_assure
from netemu.netfilter.ipvs.connection import IpvsConnection
from netemu.netfilter.ipvs.header import IpvsHeader
from netemu.netfilter.ipvs.protocol import (
    Direction,
    Protocol,
    Rewrite,
    Wish,
    enter_state,
    update_checksum,
)
from netemu.skb import Checksum, Skb
from netemu.wire.checksum import l4_checksum
from netemu.wire.fields import get16, set16
from netemu.wire.ipv4 import IPPROTO_UDP

HEADER_LEN = 8
CHECK = 6
UDP_NORMAL = 0
"""The only state (IP_VS_UDP_S_NORMAL)."""


def wish(net: Net, skb: Skb, header: IpvsHeader) -> Wish:
    """Let every datagram ask for a server (udp_conn_schedule)."""
    need = 4 if header.icmp else HEADER_LEN
    return Wish.SERVER if len(skb.data) >= header.l4_offset + need else Wish.DROP


def transition(
    net: Net, connection: IpvsConnection, direction: Direction, skb: Skb, header: IpvsHeader
) -> None:
    """Restart the timeout; an answer assures the template (udp_state_transition)."""
    enter_state(net, UDP, connection, UDP_NORMAL)
    if direction == Direction.OUTPUT:
        control_assure(connection)


def rewrite(skb: Skb, offset: int, change: Rewrite) -> bool:
    """Change one port; a datagram without checksum gets one (udp_dnat_handler)."""
    data = skb.data
    if len(data) < offset + HEADER_LEN:
        return False
    set16(data, offset + change.port_offset, change.after[1])
    at = offset + CHECK
    if skb.ip_summed != Checksum.PARTIAL and not get16(data, at):
        check = l4_checksum(change.peer, change.after[0], IPPROTO_UDP, data[offset:])
        set16(data, at, check or 0xFFFF)
        return True
    update_checksum(skb, at, change)
    if skb.ip_summed != Checksum.PARTIAL and not get16(data, at):
        set16(data, at, 0xFFFF)
    return True


UDP = Protocol(
    number=IPPROTO_UDP,
    name="UDP",
    kernel="ip_vs_proto_udp.c",
    states=("UDP",),
    timeouts_s=(300,),
    wish=wish,
    begins=lambda skb, header: False,
    transition=transition,
    rewrite=rewrite,
)
