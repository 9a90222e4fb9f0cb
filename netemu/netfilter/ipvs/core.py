"""IPVS at the hooks: requests to virtual servers, answers of real ones.

Kernel: net/netfilter/ipvs/ip_vs_core.c (ip_vs_in_hook, ip_vs_out_hook, ip_vs_forward_icmp).

net.ipv4.vs.backup_only does nothing here: it counts on a node that runs the backup's daemon.
"""

from __future__ import annotations

from netemu.events import HeaderRewritten, IpvsConnectionFound
from netemu.ip.icmp import icmp_send
from netemu.net import Net, kfree_skb_reason
from netemu.netfilter.hook import Hook, HookState, Verdict
from netemu.netfilter.ipvs.app import read_along
from netemu.netfilter.ipvs.connection import (
    IP_VS_CONN_F_NFCT,
    IP_VS_CONN_F_NOOUTPUT,
    IP_VS_CONN_F_ONE_PACKET,
    IpvsConnection,
)
from netemu.netfilter.ipvs.header import IpvsHeader, fill_iph_skb
from netemu.netfilter.ipvs.icmp import gather, ip_vs_in_icmp, ip_vs_out_icmp
from netemu.netfilter.ipvs.nfct import ip_vs_conn_uses_old_conntrack, ip_vs_track
from netemu.netfilter.ipvs.protocol import Direction, Protocol, snat_of, state_name
from netemu.netfilter.ipvs.protocols import BY_NUMBER, conn_in_get, conn_out_get
from netemu.netfilter.ipvs.reroute import ip_vs_route_me_harder
from netemu.netfilter.ipvs.schedule import ICMP_PORT_UNREACH, try_to_schedule
from netemu.netfilter.ipvs.service import IP_VS_CONN_F_MASQ
from netemu.netfilter.ipvs.table import Ipvs
from netemu.netfilter.ipvs.xmit import count_in, count_out, packet_xmit
from netemu.skb import PacketType, Skb
from netemu.wire.address import format_address
from netemu.wire.icmp import IcmpType
from netemu.wire.ipv4 import IPPROTO_ICMP, IPPROTO_SCTP, IPPROTO_TCP, IPPROTO_UDP, IPv4
from netemu.wire.tcp import FLAGS, MIN_HEADER_LEN, Flag

SCTP_ABORT = 6


def ip_vs_in_hook(net: Net, skb: Skb, state: HookState) -> Verdict:
    """Take a request: find or make its connection, then send it to the server."""
    ipvs = net.generic(Ipvs)
    if skb.ipvs_property or skb.dst is None or not ipvs.in_use:
        return Verdict.ACCEPT
    if skb.pkt_type != PacketType.HOST and state.hook != Hook.OUTPUT:
        return Verdict.ACCEPT
    number = skb.data[9]
    if number == IPPROTO_ICMP:
        verdict = ip_vs_in_icmp(net, skb, state.hook)
        if verdict is not None:
            return verdict
    protocol = BY_NUMBER.get(number)
    if protocol is None:
        if net.sysctl.get("net.ipv4.vs.ignore_tunneled"):
            skb.ipvs_property = True
        return Verdict.ACCEPT
    header = fill_iph_skb(skb)
    connection = conn_in_get(ipvs.connections, protocol, skb, header)
    if connection is not None:
        kept = _still_fits(net, skb, protocol, header, connection)
        if isinstance(kept, Verdict):
            return kept
        connection = kept
    if connection is None:
        made = try_to_schedule(net, skb, protocol, header)
        if isinstance(made, Verdict):
            return made
        connection = made
    elif net.sink is not None:
        _tell(net, skb, protocol, connection, "request")
    count_in(net, connection, skb)
    if protocol.transition is not None:
        protocol.transition(net, connection, Direction.INPUT, skb, header)
    verdict = packet_xmit(net, skb, connection, protocol, header)
    if not connection.flags & IP_VS_CONN_F_ONE_PACKET:
        connection.in_pkts += 1
    elif connection.control is not None:
        connection.control.in_pkts += 1
    ipvs.connections.put(connection)
    return verdict


def _still_fits(
    net: Net, skb: Skb, protocol: Protocol, header: IpvsHeader, connection: IpvsConnection
) -> IpvsConnection | Verdict | None:
    """Return the packet's connection; None when another must be made; DROP to wait for it.

    A SYN on a connection that ended, or whose server takes no more, begins a new one. While
    conntrack still holds the old entry the SYN is dropped, and its repetition finds none.
    """
    nodest = net.sysctl.get("net.ipv4.vs.expire_nodest_conn")
    server = connection.server
    if protocol.begins(skb, header):
        if nodest and server is not None and not server.weight:
            old = ip_vs_conn_uses_old_conntrack(connection, skb)
            return _reschedule(net, skb, connection, old=old)
        mode = net.sysctl.get("net.ipv4.vs.conn_reuse_mode")
        if mode and _new_conn_expected(protocol, connection, mode):
            old = ip_vs_conn_uses_old_conntrack(connection, skb)
            # One that controls others waits until their conntrack is gone.
            if not connection.n_control or not old:
                return _reschedule(net, skb, connection, old=old)
    if server is not None and not server.available:
        if not nodest:
            return _drop(net, skb, f"its server {server} was removed")
        old = ip_vs_conn_uses_old_conntrack(connection, skb)
        if not old:
            connection.flags &= ~IP_VS_CONN_F_NFCT
        net.generic(Ipvs).connections.expire_now(connection)
        return _wait(net, skb) if old else None
    return connection


def _reschedule(net: Net, skb: Skb, connection: IpvsConnection, *, old: bool) -> Verdict | None:
    if not old:
        connection.flags &= ~IP_VS_CONN_F_NFCT
    if not connection.n_control:
        net.generic(Ipvs).connections.expire_now(connection)
    return _wait(net, skb) if old else None


def _wait(net: Net, skb: Skb) -> Verdict:
    return _drop(net, skb, "conntrack still has the old connection, which now ends")


def _new_conn_expected(protocol: Protocol, connection: IpvsConnection, mode: int) -> bool:
    """Kernel: is_new_conn_expected."""
    if connection.control is not None:
        return False
    if connection.state in protocol.ended_states:
        return True
    unseen = mode & 2 and connection.flags & IP_VS_CONN_F_NOOUTPUT
    return bool(unseen) and connection.state in protocol.ended_unseen_states


def ip_vs_out_hook(net: Net, skb: Skb, state: HookState) -> Verdict:
    """Take an answer: give it the virtual server's address."""
    ipvs = net.generic(Ipvs)
    if skb.ipvs_property or skb.dst is None or not ipvs.in_use:
        return Verdict.ACCEPT
    number = skb.data[9]
    if number == IPPROTO_ICMP:
        verdict = ip_vs_out_icmp(net, skb, state.hook)
        if verdict is not None:
            return verdict
    protocol = BY_NUMBER.get(number)
    if protocol is None:
        return Verdict.ACCEPT
    if protocol.has_ports and not gather(net, skb, state.hook):
        return Verdict.STOLEN
    header = fill_iph_skb(skb)
    connection = conn_out_get(ipvs.connections, protocol, skb, header)
    if connection is not None:
        if net.sink is not None:
            _tell(net, skb, protocol, connection, "answer")
        return _handle_response(net, skb, protocol, connection, header, state.hook)
    if net.sysctl.get("net.ipv4.vs.nat_icmp_send") and _is_stray(net, skb, header):
        icmp_send(net, skb, IcmpType.DEST_UNREACH, ICMP_PORT_UNREACH, 0)
        return _drop(net, skb, "a real server's packet without a connection (nat_icmp_send)")
    return Verdict.ACCEPT


def _is_stray(net: Net, skb: Skb, header: IpvsHeader) -> bool:
    """Return whether a real server sends what is no answer; its RST and ABORT may pass."""
    ports = header.ports(skb.data)
    if header.protocol not in {IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP} or ports is None:
        return False
    if not net.generic(Ipvs).has_real_service(header.protocol, header.saddr, ports[0]):
        return False
    data, at = skb.data, header.l4_offset
    if header.protocol == IPPROTO_TCP:
        return not (len(data) >= at + MIN_HEADER_LEN and data[at + FLAGS] & Flag.RST)
    if header.protocol == IPPROTO_SCTP:
        return not (len(data) >= at + 16 and data[at + 12] == SCTP_ABORT)
    return True


def _handle_response(
    net: Net,
    skb: Skb,
    protocol: Protocol,
    connection: IpvsConnection,
    header: IpvsHeader,
    hook: Hook,
) -> Verdict:
    """Kernel: handle_response."""
    if connection.forward == IP_VS_CONN_F_MASQ:
        change = snat_of(connection)
        if not read_along(net, skb, connection, header.l4_offset, out=True):
            return _drop(net, skb, "its application cannot read or change it")
        if protocol.rewrite is not None and not protocol.rewrite(skb, header.l4_offset, change):
            return _drop(net, skb, "too short to be rewritten")
        address = IPv4(skb.data)
        address.src = connection.vaddr
        address.update_check()
        if net.sink is not None:
            before, after = (f"{format_address(a)}:{p}" for a, p in (change.before, change.after))
            net.tell(skb, HeaderRewritten(what="un-dnat", before=before, after=after))
        if not ip_vs_route_me_harder(net, skb, hook):
            return _drop(net, skb, "no route to the client")
    count_out(net, connection, skb)
    if protocol.transition is not None:
        protocol.transition(net, connection, Direction.OUTPUT, skb, header)
    skb.ipvs_property = True
    ip_vs_track(skb, connection, outin=False)
    net.generic(Ipvs).connections.put(connection)
    return Verdict.ACCEPT


def ip_vs_forward_icmp(net: Net, skb: Skb, state: HookState) -> Verdict:
    """Take errors that are forwarded: those about connections of marked packets come so."""
    ipvs = net.generic(Ipvs)
    if not ipvs.in_use:
        return Verdict.ACCEPT
    if skb.data[9] != IPPROTO_ICMP:
        return Verdict.ACCEPT
    verdict = ip_vs_in_icmp(net, skb, state.hook)
    return Verdict.ACCEPT if verdict is None else verdict


def _tell(net: Net, skb: Skb, protocol: Protocol, connection: IpvsConnection, what: str) -> None:
    state = state_name(protocol, connection)
    net.tell(skb, IpvsConnectionFound(what=what, connection=str(connection), state=state))


def _drop(net: Net, skb: Skb, why: str) -> Verdict:
    """End a packet, with the reason that a hook's DROP gives."""
    kfree_skb_reason(net, skb, "NETFILTER_DROP", why)
    return Verdict.STOLEN
