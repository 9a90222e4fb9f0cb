"""ICMP errors about balanced connections, in both directions.

Kernel: net/netfilter/ipvs/ip_vs_core.c (ip_vs_in_icmp, ip_vs_out_icmp, ip_vs_nat_icmp),
ip_vs_xmit.c (ip_vs_icmp_xmit).

Theory of operation: an error quotes a packet that its sender got, so the connection is looked up
with source and destination exchanged. From outside it goes to the real server, from a real server
to the client, with the addresses inside and outside rewritten. An error about the outer packet of a
tunnel becomes one about the packet inside.
"""

from __future__ import annotations

from netemu.events import HeaderRewritten
from netemu.ip.fib_table import Errno, Flowi4
from netemu.ip.fragment import DefragUser, ip_defrag, ip_is_fragment
from netemu.ip.icmp import icmp_send
from netemu.ip.learn import ipv4_update_pmtu
from netemu.ip.output import ICMP_FRAG_NEEDED, route_of
from netemu.ip.route import ip_route_output_key
from netemu.ip.rtable import Rtcf, ip_dst_mtu_maybe_forward
from netemu.net import Net, kfree_skb_reason
from netemu.netfilter.hook import Hook, Verdict
from netemu.netfilter.ipvs.connection import IpvsConnection
from netemu.netfilter.ipvs.encap import (
    GUE_HEADER_LEN,
    IP_HEADER_LEN,
    IPPROTO_GRE,
    IPPROTO_IPIP,
    UDP_HEADER_LEN,
)
from netemu.netfilter.ipvs.header import IpvsHeader, fill_iph_skb_icmp
from netemu.netfilter.ipvs.nfct import ip_vs_track
from netemu.netfilter.ipvs.protocol import Protocol
from netemu.netfilter.ipvs.protocols import BY_NUMBER, conn_in_get, conn_out_get
from netemu.netfilter.ipvs.reroute import ip_vs_route_me_harder
from netemu.netfilter.ipvs.schedule import try_to_schedule
from netemu.netfilter.ipvs.service import IP_VS_CONN_F_MASQ, TunnelType
from netemu.netfilter.ipvs.table import Ipvs
from netemu.netfilter.ipvs.xmit import (
    IPV4_MIN_MTU,
    RouteMode,
    count_in,
    count_out,
    get_out_rt,
    nat_send_or_cont,
    packet_xmit,
)
from netemu.skb import Checksum, Skb
from netemu.wire.address import format_address, ipv4_is_loopback
from netemu.wire.checksum import internet_checksum
from netemu.wire.fields import get16, set16
from netemu.wire.icmp import HEADER_LEN, IcmpType
from netemu.wire.ipv4 import IPPROTO_UDP, IPv4

BALANCED = frozenset({IcmpType.DEST_UNREACH, IcmpType.SOURCE_QUENCH, IcmpType.TIME_EXCEEDED})
"""Errors that are looked at; other messages are none of IPVS's business."""

IP_OFFSET = 0x1FFF


def defrag_user(hook: Hook) -> DefragUser:
    """Return whose fragments those at a hook are (ip_vs_defrag_user)."""
    if hook == Hook.INPUT:
        return DefragUser.VS_IN
    return DefragUser.VS_FWD if hook == Hook.FORWARD else DefragUser.VS_OUT


def gather(net: Net, skb: Skb, hook: Hook) -> bool:
    """Put a fragment's packet together; False while parts are missing (ip_vs_gather_frags)."""
    if not ip_is_fragment(skb):
        return True
    return ip_defrag(net, skb, defrag_user(hook))


def ip_vs_out_icmp(net: Net, skb: Skb, hook: Hook) -> Verdict | None:
    """Handle an error on its way to a client; None when the message is no error."""
    if not gather(net, skb, hook):
        return Verdict.STOLEN
    offset = skb.transport_offset
    if len(skb.data) < offset + HEADER_LEN:
        return _drop(net, skb, "too short for ICMP")
    if skb.data[offset] not in BALANCED:
        return None
    quoted = fill_iph_skb_icmp(skb, offset + HEADER_LEN, inverse=True)
    protocol = _protocol_of(skb, quoted)
    if quoted is None or protocol is None:
        return Verdict.ACCEPT
    connection = conn_out_get(net.generic(Ipvs).connections, protocol, skb, quoted)
    if connection is None:
        return Verdict.ACCEPT
    if connection.forward == IP_VS_CONN_F_MASQ:
        if not _checksum_is_right(skb, offset):
            return _drop(net, skb, "wrong ICMP checksum")
        if not ip_vs_nat_icmp(net, skb, connection, quoted, protocol, inout=True):
            return _drop(net, skb, "the quoted packet is cut short")
        if not ip_vs_route_me_harder(net, skb, hook):
            return _drop(net, skb, "no route to the client")
    count_out(net, connection, skb)
    skb.ipvs_property = True
    ip_vs_track(skb, connection, outin=False)
    return Verdict.ACCEPT


def ip_vs_in_icmp(net: Net, skb: Skb, hook: Hook) -> Verdict | None:
    """Handle an error on its way to a real server; None when the message is no error."""
    if not gather(net, skb, hook):
        return Verdict.STOLEN
    offset = skb.transport_offset
    if len(skb.data) < offset + HEADER_LEN:
        return _drop(net, skb, "too short for ICMP")
    if skb.data[offset] not in BALANCED:
        return None
    outer = fill_iph_skb_icmp(skb, offset + HEADER_LEN, inverse=True)
    if outer is None or skb.data[outer.offset] >> 4 != 4 or outer.l4_offset < outer.offset + 20:
        return Verdict.ACCEPT
    inner_offset = _tunnel_payload(net, skb, outer)
    if inner_offset is None:
        return Verdict.ACCEPT
    tunnel = inner_offset != outer.offset
    quoted = fill_iph_skb_icmp(skb, inner_offset, inverse=not tunnel)
    protocol = _protocol_of(skb, quoted)
    if quoted is None or protocol is None:
        return Verdict.ACCEPT
    table = net.generic(Ipvs).connections
    connection = conn_in_get(table, protocol, skb, quoted)
    new = connection is None
    if connection is None:
        if tunnel or not net.sysctl.get("net.ipv4.vs.schedule_icmp"):
            return Verdict.ACCEPT
        made = try_to_schedule(net, skb, protocol, quoted)
        if isinstance(made, Verdict):
            return made
        connection = made
    if not _checksum_is_right(skb, offset):
        verdict = _drop(net, skb, "wrong ICMP checksum")
    elif tunnel:
        verdict = _unwrap(net, skb, connection, outer, quoted)
    else:
        count_in(net, connection, skb)
        verdict = ip_vs_icmp_xmit(net, skb, connection, protocol, quoted, hook)
    if new:
        table.put(connection)
    return verdict


def ip_vs_icmp_xmit(
    net: Net,
    skb: Skb,
    connection: IpvsConnection,
    protocol: Protocol,
    quoted: IpvsHeader,
    hook: Hook,
) -> Verdict:
    """Send an error to the real server of the connection that it is about."""
    if connection.forward != IP_VS_CONN_F_MASQ:
        verdict = packet_xmit(net, skb, connection, protocol, quoted)
        connection.in_pkts += 1
        return verdict
    was_input = route_of(skb).is_input
    forwarded = hook == Hook.FORWARD
    mode = RouteMode(local=not forwarded, redirect=not forwarded)
    way = get_out_rt(net, skb, connection, connection.daddr, mode, quoted)
    if way is None:
        return Verdict.STOLEN
    if way.local and was_input and ipv4_is_loopback(connection.daddr):
        return _drop(net, skb, "from outside to a loopback address")
    if not ip_vs_nat_icmp(net, skb, connection, quoted, protocol, inout=False):
        return _drop(net, skb, "the quoted packet is cut short")
    skb.ignore_df = True
    return nat_send_or_cont(net, skb, connection, local=way.local)


def ip_vs_nat_icmp(
    net: Net,
    skb: Skb,
    connection: IpvsConnection,
    quoted: IpvsHeader,
    protocol: Protocol,
    *,
    inout: bool,
) -> bool:
    """Rewrite the error and the packet that it quotes; False when the quote is cut short.

    `inout` tells an error to a client from one to a real server.
    """
    data = skb.data
    if protocol.has_ports and len(data) < quoted.l4_offset + 4:
        return False
    outer, inner = IPv4(data), IPv4(data, quoted.offset)
    before = f"{format_address(outer.src)} > {format_address(outer.dst)}"
    if inout:
        outer.src = connection.vaddr
        inner.dst = connection.vaddr
        port_at, port = quoted.l4_offset + 2, connection.vport
    else:
        outer.dst = connection.daddr
        inner.src = connection.daddr
        port_at, port = quoted.l4_offset, connection.dport
    outer.update_check()
    inner.update_check()
    if protocol.has_ports:
        set16(data, port_at, port)
    offset = skb.transport_offset
    set16(data, offset + 2, 0)
    set16(data, offset + 2, internet_checksum(data[offset:]))
    skb.ip_summed = Checksum.UNNECESSARY
    if net.sink is not None:
        after = f"{format_address(outer.src)} > {format_address(outer.dst)}"
        net.tell(skb, HeaderRewritten(what="icmp payload", before=before, after=after))
    return True


def _protocol_of(skb: Skb, quoted: IpvsHeader | None) -> Protocol | None:
    """Return the protocol of a quoted packet that can be looked up."""
    if quoted is None:
        return None
    data = skb.data
    protocol = BY_NUMBER.get(quoted.protocol)
    if protocol is None or data[quoted.offset] >> 4 != 4 or quoted.l4_offset < quoted.offset + 20:
        return None
    if get16(data, quoted.offset + 6) & IP_OFFSET and protocol.has_ports:
        return None
    return protocol


def _checksum_is_right(skb: Skb, offset: int) -> bool:
    if skb.device is None or skb.ip_summed in {Checksum.UNNECESSARY, Checksum.PARTIAL}:
        return True
    return not internet_checksum(skb.data[offset:])


def _tunnel_payload(net: Net, skb: Skb, outer: IpvsHeader) -> int | None:
    """Return where the packet begins that an error is about; None when IPVS has no part in it.

    It is the quoted one, or the one inside of it when the node itself wrapped it for a server.
    """
    if outer.protocol not in {IPPROTO_IPIP, IPPROTO_UDP, IPPROTO_GRE}:
        return outer.offset
    mine = bool(route_of(skb).flags & Rtcf.LOCAL)
    first = not get16(skb.data, outer.offset + 6) & IP_OFFSET
    ipvs = net.generic(Ipvs)
    if outer.protocol == IPPROTO_IPIP:
        server = ipvs.find_tunnel(outer.daddr, 0)
        known = server is not None and server.tunnel.kind == TunnelType.IPIP
        return outer.l4_offset if first and mine and known else None
    if not mine:
        return outer.offset
    if not first:
        return None
    return outer.offset if (size := _encap_len(ipvs, skb, outer)) == 0 else outer.l4_offset + size


def _encap_len(ipvs: Ipvs, skb: Skb, outer: IpvsHeader) -> int:
    """Return the octets of our GUE or GRE headers; 0 when they are not ours."""
    data, at = skb.data, outer.l4_offset
    if outer.protocol == IPPROTO_UDP:
        if len(data) < at + UDP_HEADER_LEN + GUE_HEADER_LEN:
            return 0
        server = ipvs.find_tunnel(outer.daddr, get16(data, at + 2))
        gue = data[at + UDP_HEADER_LEN : at + UDP_HEADER_LEN + GUE_HEADER_LEN]
        if server is None or server.tunnel.kind != TunnelType.GUE or gue[0] >> 5:
            return 0
        return UDP_HEADER_LEN + GUE_HEADER_LEN + (gue[0] & 0x1F) * 4 if gue[1] == 4 else 0
    if len(data) < at + 4:
        return 0
    server = ipvs.find_tunnel(outer.daddr, 0)
    flags = get16(data, at)
    if server is None or server.tunnel.kind != TunnelType.GRE or flags & ~0x8000:
        return 0
    return (8 if flags else 4) if get16(data, at + 2) == 0x0800 else 0


def _unwrap(
    net: Net, skb: Skb, connection: IpvsConnection, outer: IpvsHeader, quoted: IpvsHeader
) -> Verdict:
    """Turn an error about a tunnel's packet into one to the client."""
    offset = skb.transport_offset
    kind, code = skb.data[offset], skb.data[offset + 1]
    info = int.from_bytes(skb.data[offset + 4 : offset + 8], "big")
    if kind == IcmpType.DEST_UNREACH and code == ICMP_FRAG_NEEDED:
        mtu = _learn_pmtu(net, outer.daddr, info & 0xFFFF)
        # The kernel takes off the outer IP header only, whatever else the tunnel adds.
        info = mtu - IP_HEADER_LEN if mtu > IPV4_MIN_MTU + IP_HEADER_LEN else mtu
        if not IPv4(skb.data, quoted.offset).dont_fragment:
            return _drop(net, skb, "the client does not ask for the path MTU")
    del skb.data[: quoted.offset]
    skb.options = None
    icmp_send(net, skb, kind, code, info)
    count_out(net, connection, skb)
    return _drop(net, skb, "it became an error to the client")


def _learn_pmtu(net: Net, daddr: bytes, mtu: int) -> int:
    """Believe the path MTU to a tunnel's end; return what the client is told.

    The server's cached route says it. The first error finds one without a path MTU there.
    """
    before = ip_route_output_key(net, Flowi4(daddr=daddr))
    ipv4_update_pmtu(net, Flowi4(daddr=daddr), mtu)
    after = ip_route_output_key(net, Flowi4(daddr=daddr))
    if isinstance(before, Errno) or isinstance(after, Errno):
        return mtu
    return ip_dst_mtu_maybe_forward(after if before.pmtu else before)


def _drop(net: Net, skb: Skb, why: str) -> Verdict:
    kfree_skb_reason(net, skb, "NOT_SPECIFIED", why)
    return Verdict.STOLEN
