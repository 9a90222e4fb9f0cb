"""All protocols that IPVS balances, and how a packet's connection is looked up.

Kernel: net/netfilter/ipvs/ip_vs_proto.c, ip_vs_conn.c (ip_vs_conn_in_get_proto).
"""

from __future__ import annotations

from netemu.netfilter.ipvs.ah_esp import AH, ESP, PORT_ISAKMP
from netemu.netfilter.ipvs.conn_table import ConnectionTable, End
from netemu.netfilter.ipvs.connection import IpvsConnection
from netemu.netfilter.ipvs.header import IpvsHeader
from netemu.netfilter.ipvs.protocol import Protocol
from netemu.netfilter.ipvs.sctp import SCTP
from netemu.netfilter.ipvs.tcp import TCP
from netemu.netfilter.ipvs.udp import UDP
from netemu.skb import Skb
from netemu.wire.ipv4 import IPPROTO_UDP

PROTOCOLS: tuple[Protocol, ...] = (TCP, UDP, SCTP, AH, ESP)

BY_NUMBER = {protocol.number: protocol for protocol in PROTOCOLS}


def conn_in_get(
    table: ConnectionTable, protocol: Protocol, skb: Skb, header: IpvsHeader
) -> IpvsConnection | None:
    """Return the connection of a request (pp->conn_in_get)."""
    ends = _ends(protocol, skb, header)
    if ends is None:
        return None
    number, asking, asked = ends
    return table.in_get(number, asking, asked)


def conn_out_get(
    table: ConnectionTable, protocol: Protocol, skb: Skb, header: IpvsHeader
) -> IpvsConnection | None:
    """Return the connection of an answer (pp->conn_out_get)."""
    ends = _ends(protocol, skb, header)
    if ends is None:
        return None
    number, source, client = ends
    return table.out_get(number, source, client)


def _ends(protocol: Protocol, skb: Skb, header: IpvsHeader) -> tuple[int, End, End] | None:
    if not protocol.has_ports:
        return IPPROTO_UDP, (header.client, PORT_ISAKMP), (header.virtual, PORT_ISAKMP)
    ports = header.ports(skb.data)
    if ports is None:
        return None
    return header.protocol, (header.client, ports[0]), (header.virtual, ports[1])
