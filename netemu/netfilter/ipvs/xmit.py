"""Sending a packet to its real server: rewritten, as it is, or inside another packet.

Kernel: net/netfilter/ipvs/ip_vs_xmit.c.

Theory of operation: the packet gets the route to its server and enters the OUTPUT hook as if the
node itself sent it; IPVS's own functions pass it there (`ipvs_property`). A packet whose server is
the node itself goes on through the hook that it came by.
"""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from netemu.events import HeaderRewritten
from netemu.ip.fib_table import Errno, Flowi4
from netemu.ip.icmp import icmp_send, ipv4_link_failure
from netemu.ip.output import ICMP_FRAG_NEEDED, dst_output, ip_local_out, ip_select_ident, route_of
from netemu.ip.route import ip_route_output_key
from netemu.ip.rtable import Rtable, Rtcf, ip_dst_mtu_maybe_forward
from netemu.net import Net, kfree_skb_reason, nf_hook
from netemu.netfilter.conntrack.connection import CtInfo, nf_ct_set
from netemu.netfilter.conntrack.core import nf_conntrack_confirm
from netemu.netfilter.hook import Family, Hook, Verdict
from netemu.netfilter.ipvs.app import read_along
from netemu.netfilter.ipvs.connection import (
    IP_VS_CONN_F_NFCT,
    IP_VS_CONN_F_NO_CPORT,
    IpvsConnection,
)
from netemu.netfilter.ipvs.encap import encapsulate, overhead
from netemu.netfilter.ipvs.header import IpvsHeader
from netemu.netfilter.ipvs.nfct import ip_vs_notrack, ip_vs_track
from netemu.netfilter.ipvs.protocol import Protocol, dnat_of
from netemu.netfilter.ipvs.service import (
    IP_VS_CONN_F_BYPASS,
    IP_VS_CONN_F_DROUTE,
    IP_VS_CONN_F_LOCALNODE,
    IP_VS_CONN_F_MASQ,
    IP_VS_CONN_F_TUNNEL,
    TunnelType,
)
from netemu.netfilter.ipvs.table import Ipvs
from netemu.skb import Skb
from netemu.wire.address import format_address, ipv4_is_loopback
from netemu.wire.fields import get16
from netemu.wire.icmp import IcmpType
from netemu.wire.ipv4 import IPv4

IPV4_MIN_MTU = 68
"""RFC 791."""


class RouteMode(Struct, frozen=True, kw_only=True):
    """What a route to a server may be (IP_VS_RT_MODE_*)."""

    local: bool = True
    """The server may be the node itself."""
    non_local: bool = True
    redirect: bool = False
    """A packet that was not for the node may go to a server on it."""
    known_next_hop: bool = False
    """The server is the neighbour, whatever address the packet has."""
    tunnel: bool = False


MODES = {
    IP_VS_CONN_F_MASQ: RouteMode(redirect=True),
    IP_VS_CONN_F_DROUTE: RouteMode(known_next_hop=True),
    IP_VS_CONN_F_TUNNEL: RouteMode(tunnel=True),
    IP_VS_CONN_F_BYPASS: RouteMode(local=False),
}


class Way(Struct):
    """The way to a server."""

    local: bool
    source: bytes
    """Address that the node speaks to it with."""


def packet_xmit(
    net: Net, skb: Skb, connection: IpvsConnection, protocol: Protocol, header: IpvsHeader
) -> Verdict:
    """Send a request to the server of its connection (cp->packet_xmit)."""
    method = connection.forward
    if method == IP_VS_CONN_F_LOCALNODE:
        return _keep(skb, connection)
    if method == IP_VS_CONN_F_MASQ:
        return ip_vs_nat_xmit(net, skb, connection, protocol, header)
    daddr = header.daddr if method == IP_VS_CONN_F_BYPASS else connection.daddr
    way = get_out_rt(net, skb, connection, daddr, MODES[method], header)
    if way is None:
        return Verdict.STOLEN
    if way.local:
        return _keep(skb, connection)
    if method == IP_VS_CONN_F_TUNNEL:
        return _tunnel(net, skb, connection, way)
    IPv4(skb.data).update_check()
    skb.ignore_df = True
    _keep(skb, connection)
    return _local_out(net, skb)


def count_in(net: Net, connection: IpvsConnection, skb: Skb) -> None:
    """Count a packet to a server that is in its service (ip_vs_in_stats)."""
    server = connection.server
    if server is not None and server.available:
        for stats in (server.stats, server.service.stats, net.generic(Ipvs).stats):
            stats.count_in(net.clock, len(skb.data))


def count_out(net: Net, connection: IpvsConnection, skb: Skb) -> None:
    """Count a packet from a server that is in its service (ip_vs_out_stats)."""
    server = connection.server
    if server is not None and server.available:
        for stats in (server.stats, server.service.stats, net.generic(Ipvs).stats):
            stats.count_out(net.clock, len(skb.data))


def ip_vs_nat_xmit(
    net: Net, skb: Skb, connection: IpvsConnection, protocol: Protocol, header: IpvsHeader
) -> Verdict:
    """Give the packet the server's address and port, then send it."""
    if connection.flags & IP_VS_CONN_F_NO_CPORT:
        port = get16(skb.data, header.l4_offset)
        net.generic(Ipvs).connections.fill_cport(connection, port)
    was_input = route_of(skb).is_input
    mode = MODES[IP_VS_CONN_F_MASQ]
    way = get_out_rt(net, skb, connection, connection.daddr, mode, header)
    if way is None:
        return Verdict.STOLEN
    if way.local and was_input and ipv4_is_loopback(connection.daddr):
        return _drop(net, skb, "from outside to a loopback address")
    change = dnat_of(connection)
    if not read_along(net, skb, connection, header.l4_offset, out=False):
        return _drop(net, skb, "its application cannot read it")
    if protocol.rewrite is not None and not protocol.rewrite(skb, header.l4_offset, change):
        return _drop(net, skb, "too short to be rewritten")
    address = IPv4(skb.data)
    address.dst = connection.daddr
    address.update_check()
    if net.sink is not None:
        net.tell(
            skb, HeaderRewritten(what="dnat", before=_end(change.before), after=_end(change.after))
        )
    skb.ignore_df = True
    return nat_send_or_cont(net, skb, connection, local=way.local)


def nat_send_or_cont(net: Net, skb: Skb, connection: IpvsConnection, *, local: bool) -> Verdict:
    """Send a rewritten packet, or let it go on when its server is the node itself."""
    skb.ipvs_property = True
    ip_vs_track(skb, connection, outin=True)
    moved = (connection.vaddr, connection.vport) != (connection.daddr, connection.dport)
    if (not local or moved) and skb.device is not None:
        skb.sk = None
    return Verdict.ACCEPT if local else _local_out(net, skb)


def get_out_rt(
    net: Net,
    skb: Skb,
    connection: IpvsConnection,
    daddr: bytes,
    mode: RouteMode,
    header: IpvsHeader,
) -> Way | None:
    """Route the packet to `daddr`; None when that cannot be, and the packet has ended.

    Kernel: __ip_vs_get_out_rt. A packet for the node itself keeps its old route.
    """
    flow = Flowi4(daddr=daddr)
    route = ip_route_output_key(net, flow, skb)
    if isinstance(route, Errno):
        if skb.device is None:
            skb.device = route_of(skb).device
        ipv4_link_failure(net, skb)
        _drop(net, skb, f"no route to {format_address(daddr)}", "IP_OUTNOROUTES")
        return None
    local = bool(route.flags & Rtcf.LOCAL)
    if _crosses_local_route_boundary(skb, mode, local=local):
        _drop(net, skb, f"{format_address(daddr)} is on the wrong side of the node")
        return None
    way = Way(local=local, source=flow.saddr)
    if local:
        return way
    if not _decrement_ttl(net, skb) or not _mtu_is_adequate(
        net, skb, connection, route, mode, header
    ):
        return None
    if _next_hop_is_known(connection, mode) and not route.gateway:
        route = replace(route, gateway=daddr)
    skb.dst = route
    return way


def _next_hop_is_known(connection: IpvsConnection, mode: RouteMode) -> bool:
    """Return what the route that the server caches says, whoever asked for it (dest_dst).

    So behind a change of the method an old connection may go the new ones' way: a packet for a
    server that is reached directly asks for its virtual address's neighbour.
    """
    server = connection.server
    if server is None:
        return mode.known_next_hop
    if server.next_hop_known is None:
        server.next_hop_known = mode.known_next_hop
    return server.next_hop_known


def _crosses_local_route_boundary(skb: Skb, mode: RouteMode, *, local: bool) -> bool:
    if local:
        was_local = bool(route_of(skb).flags & Rtcf.LOCAL)
        return not mode.local or not (mode.redirect or was_local)
    return not mode.non_local or ipv4_is_loopback(IPv4(skb.data).src)


def _decrement_ttl(net: Net, skb: Skb) -> bool:
    header = IPv4(skb.data)
    ttl = header.ttl
    if ttl <= 1:
        icmp_send(net, skb, IcmpType.TIME_EXCEEDED, 0, 0)
        _drop(net, skb, "TTL exceeded", "IP_INHDR")
        return False
    check = header.check + 0x0100
    header.check = (check + (1 if check >= 0xFFFF else 0)) & 0xFFFF
    header.ttl = ttl - 1
    if net.sink is not None:
        net.tell(skb, HeaderRewritten(what="ttl", before=str(ttl), after=str(ttl - 1)))
    return True


def _mtu_is_adequate(
    net: Net,
    skb: Skb,
    connection: IpvsConnection,
    route: Rtable,
    mode: RouteMode,
    header: IpvsHeader,
) -> bool:
    mtu = ip_dst_mtu_maybe_forward(route)
    if mode.tunnel:
        server = connection.server
        if server is None:
            _drop(net, skb, "the tunnel's end is unknown")
            return False
        mtu -= overhead(server.tunnel, skb)
        if mtu < IPV4_MIN_MTU:
            _drop(net, skb, f"the tunnel leaves only {mtu} octets", "PKT_TOO_BIG")
            return False
        if not net.sysctl.get("net.ipv4.vs.pmtu_disc"):
            return True
    too_big = len(skb.data) > mtu and not skb.gso
    if too_big and IPv4(skb.data).dont_fragment and not header.icmp:
        icmp_send(net, skb, IcmpType.DEST_UNREACH, ICMP_FRAG_NEEDED, mtu)
        _drop(net, skb, f"longer than the MTU {mtu}, DF set", "PKT_TOO_BIG")
        return False
    return True


def _tunnel(net: Net, skb: Skb, connection: IpvsConnection, way: Way) -> Verdict:
    """Wrap the packet and send it as one of the node's own (ip_vs_tunnel_xmit)."""
    server = connection.server
    assert server is not None
    skb.sk = None if skb.device is not None else skb.sk
    keep_df = bool(net.sysctl.get("net.ipv4.vs.pmtu_disc"))
    added = encapsulate(skb, connection, server.tunnel, way.source, keep_df=keep_df)
    ip_select_ident(net, skb)
    outer = IPv4(skb.data)
    outer.total_length = len(skb.data)
    outer.update_check()
    if skb.mac_header:
        # The new headers overwrite the old link header in memory, and LOG shows what is there.
        shown = skb.data[added - len(skb.mac_header) : added]
        if server.tunnel.kind == TunnelType.GRE and server.tunnel.checksum:
            shown[-4:-2] = bytes(2)  # the device fills the checksum in
        skb.mac_header = bytes(shown)
    skb.ignore_df = True
    skb.ipvs_property = True
    if connection.flags & IP_VS_CONN_F_NFCT and nf_conntrack_confirm(net, skb) != Verdict.ACCEPT:
        return _drop(net, skb, "its connection could not be confirmed")
    nf_ct_set(skb, None, CtInfo.ESTABLISHED)
    ip_local_out(net, skb)
    return Verdict.STOLEN


def _keep(skb: Skb, connection: IpvsConnection) -> Verdict:
    """Let the packet go on as it is (ip_vs_send_or_cont)."""
    skb.ipvs_property = True
    if not connection.flags & IP_VS_CONN_F_NFCT:
        ip_vs_notrack(skb)
    return Verdict.ACCEPT


def _local_out(net: Net, skb: Skb) -> Verdict:
    if skb.device is not None:
        skb.sk = None
    device = route_of(skb).device
    nf_hook(net, Family.IPV4, Hook.OUTPUT, skb, None, device, lambda sent: dst_output(net, sent))
    return Verdict.STOLEN


def _drop(net: Net, skb: Skb, why: str, reason: str = "NOT_SPECIFIED") -> Verdict:
    kfree_skb_reason(net, skb, reason, why)
    return Verdict.STOLEN


def _end(end: tuple[bytes, int]) -> str:
    return f"{format_address(end[0])}:{end[1]}"
