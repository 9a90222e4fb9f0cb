"""The shape of an application that IPVS reads along with: FTP.

Kernel: include/net/ip_vs.h (struct ip_vs_app), net/netfilter/ipvs/ip_vs_app.c.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from netemu.net import Net
from netemu.netfilter.ipvs.connection import IpvsConnection
from netemu.skb import Checksum, Skb
from netemu.wire.checksum import l4_checksum

ReadFunction = Callable[[Net, Skb, IpvsConnection, int], bool]
"""Looks at a packet whose L4 header is at an offset; False to drop it."""


class App(Struct, frozen=True, kw_only=True):
    """One application's declaration."""

    name: str
    kernel: str
    module: str
    """Without this module nobody reads along."""
    protocol: int
    port: int
    """Of the virtual server."""
    conn_flags: int
    """IP_VS_CONN_F_* that its connections have (init_conn)."""
    pkt_in: ReadFunction
    pkt_out: ReadFunction


def read_along(net: Net, skb: Skb, connection: IpvsConnection, offset: int, *, out: bool) -> bool:
    """Let a connection's application look at a packet; False when it is to be dropped.

    Kernel: tcp_snat_handler, tcp_dnat_handler, ip_vs_app_pkt_out, ip_vs_app_pkt_in.
    """
    app = connection.app
    if app is None:
        return True
    assert isinstance(app, App)
    if not _checksum_is_right(skb, app.protocol, offset):
        return False
    return (app.pkt_out if out else app.pkt_in)(net, skb, connection, offset)


def _checksum_is_right(skb: Skb, protocol: int, offset: int) -> bool:
    """Kernel: tcp_csum_check."""
    if skb.ip_summed in {Checksum.UNNECESSARY, Checksum.PARTIAL}:
        return True
    data = skb.data
    return not l4_checksum(data[12:16], data[16:20], protocol, data[offset:])
