"""Choosing a real server for a packet that has no connection.

Kernel: net/netfilter/ipvs/ip_vs_core.c (ip_vs_schedule, ip_vs_sched_persist, ip_vs_leave).

Theory of operation: a packet that wants a server leaves `try_to_schedule` with a connection or with
a verdict. Persistence keeps a template per client network: its connections go to the template's
server without the scheduler being asked.
"""

from __future__ import annotations

from netemu.events import IpvsServiceFound, ServerChosen
from netemu.ip.fib import inet_addr_type
from netemu.ip.fib_table import RouteType
from netemu.ip.icmp import icmp_send
from netemu.link.ratelimit import net_ratelimit
from netemu.net import Net, kfree_skb_reason
from netemu.netfilter.hook import Verdict
from netemu.netfilter.ipvs.conn_table import control_add
from netemu.netfilter.ipvs.connection import (
    IP_VS_CONN_F_ONE_PACKET,
    IP_VS_CONN_F_TEMPLATE,
    IpvsConnection,
)
from netemu.netfilter.ipvs.defense import ip_vs_todrop, start_defense
from netemu.netfilter.ipvs.header import IpvsHeader
from netemu.netfilter.ipvs.protocol import Direction, Protocol, Wish
from netemu.netfilter.ipvs.protocols import conn_in_get
from netemu.netfilter.ipvs.reasons import nobody_takes
from netemu.netfilter.ipvs.scheduler import Call, Scheduler, scheduler_name, scheduler_of
from netemu.netfilter.ipvs.service import (
    FTPDATA,
    FTPPORT,
    IP_VS_CONN_F_BYPASS,
    RealServer,
    ServiceFlag,
    VirtualServer,
)
from netemu.netfilter.ipvs.table import Ipvs
from netemu.netfilter.ipvs.xmit import count_in, packet_xmit
from netemu.skb import Skb
from netemu.wire.icmp import IcmpType
from netemu.wire.ipv4 import IPPROTO_UDP

ICMP_PORT_UNREACH = 3
"""Code of destination unreachable (RFC 792)."""

NO_SERVER = "no real server takes the connection"

IPPROTO_IP = 0


def try_to_schedule(
    net: Net, skb: Skb, protocol: Protocol, header: IpvsHeader
) -> IpvsConnection | Verdict:
    """Return a new connection, or what becomes of the packet (ip_vs_try_to_schedule)."""
    wish = protocol.wish(net, skb, header)
    if wish == Wish.NOTHING:
        return Verdict.ACCEPT
    ports = header.ports(skb.data)
    if wish == Wish.DROP or ports is None:
        return _drop(net, skb, "too short for IPVS")
    ipvs = net.generic(Ipvs)
    service = ipvs.find(skb.mark, header.protocol, header.virtual, ports[1])
    if service is None:
        return Verdict.ACCEPT
    if net.sink is not None:
        net.tell(skb, IpvsServiceFound(service=str(service), bucket=service.bucket))
    start_defense(ipvs)
    if ip_vs_todrop(ipvs):
        return _drop(net, skb, "IPVS drops every am_droprate-th connection (drop_packet)")
    if ports[0] == FTPDATA or _answers_itself(net, skb, protocol, header):
        return Verdict.ACCEPT
    if service.flags & ServiceFlag.PERSISTENT:
        found = ip_vs_sched_persist(net, service, skb, header, ports)
    else:
        found = ip_vs_schedule(net, service, skb, header, ports)
    if found is None:
        return ip_vs_leave(net, service, skb, protocol, header)
    return found


def _drop(net: Net, skb: Skb, why: str) -> Verdict:
    """End a packet, with the reason that the hook itself would give."""
    kfree_skb_reason(net, skb, "NETFILTER_DROP", why)
    return Verdict.STOLEN


def _answers_itself(net: Net, skb: Skb, protocol: Protocol, header: IpvsHeader) -> bool:
    """Return whether a packet of the node itself answers a connection that exists."""
    if skb.device is not None and not skb.device.loopback:
        return False
    header.inverse = not header.inverse
    found = conn_in_get(net.generic(Ipvs).connections, protocol, skb, header)
    header.inverse = not header.inverse
    return found is not None


def ip_vs_schedule(
    net: Net, service: VirtualServer, skb: Skb, header: IpvsHeader, ports: tuple[int, int]
) -> IpvsConnection | None:
    """Ask the scheduler and make a connection; None when no server takes it."""
    if not service.fwmark and ports[1] != service.port:
        return None
    server = _ask_scheduler(net, service, skb, header)
    if server is None:
        return None
    client, virtual = (header.client, ports[0]), (header.virtual, ports[1])
    return _new_connection(net, service, skb, header, client, virtual, server, server.port)


def ip_vs_sched_persist(
    net: Net, service: VirtualServer, skb: Skb, header: IpvsHeader, ports: tuple[int, int]
) -> IpvsConnection | None:
    """Make a connection to the server of the client's template, and the template if need be."""
    table = net.generic(Ipvs).connections
    dst_port = ports[1]
    network = bytes(a & m for a, m in zip(header.client, service.netmask, strict=True))
    protocol, virtual = header.protocol, (header.virtual, 0)
    own_port = dst_port == service.port
    if own_port:
        # An FTP client's data connections go to the server of its control connection.
        if service.port != FTPPORT:
            virtual = (header.virtual, dst_port)
    elif service.fwmark:
        protocol = IPPROTO_IP
        virtual = (service.fwmark.to_bytes(len(header.virtual), "big"), 0)
    template = table.template_get(protocol, network, virtual)
    if template is None or not table.check_template(template):
        server = _ask_scheduler(net, service, skb, header)
        if server is None:
            return None
        template = table.new(
            protocol,
            (network, 0),
            virtual,
            (server.address, server.port if own_port and service.port != FTPPORT else 0),
            flags=IP_VS_CONN_F_TEMPLATE,
            server=server,
            fwmark=skb.mark,
        )
        template.timeout = service.timeout_s * net.clock.hz
    else:
        assert template.server is not None
        server = template.server
        if net.sink is not None:
            _tell_persistence(net, service, skb, server)
    real_port = server.port if own_port else 0
    client, asked = (header.client, ports[0]), (header.virtual, dst_port)
    made = _new_connection(net, service, skb, header, client, asked, server, real_port)
    control_add(made, template)
    table.put(template)
    return made


def _new_connection(  # noqa: PLR0913 - the parts of a connection
    net: Net,
    service: VirtualServer,
    skb: Skb,
    header: IpvsHeader,
    client: tuple[bytes, int],
    virtual: tuple[bytes, int],
    server: RealServer,
    port: int,
) -> IpvsConnection:
    ipvs = net.generic(Ipvs)
    made = ipvs.connections.new(
        header.protocol,
        client,
        virtual,
        (server.address, port or virtual[1]),
        flags=_one_packet(service, header),
        server=server,
        fwmark=skb.mark,
    )
    for stats in (server.stats, service.stats, ipvs.stats):
        stats.count_connection(net.clock)
    return made


def _one_packet(service: VirtualServer, header: IpvsHeader) -> int:
    if service.flags & ServiceFlag.ONEPACKET and header.protocol == IPPROTO_UDP:
        return IP_VS_CONN_F_ONE_PACKET
    return 0


def _ask_scheduler(
    net: Net, service: VirtualServer, skb: Skb, header: IpvsHeader
) -> RealServer | None:
    scheduler = scheduler_of(service)
    if scheduler is None:
        return None
    call = Call(net, service, skb, header)
    if net.sink is None:
        chosen = scheduler.schedule(call)
        if chosen is None:
            ip_vs_scheduler_err(call, scheduler)
        return chosen
    servers = tuple((str(s), scheduler.figure(call, s)) for s in service.destinations)
    why = nobody_takes(service) or scheduler.why(call)
    chosen = scheduler.schedule(call)
    net.tell(
        skb,
        ServerChosen(
            service=str(service),
            scheduler=scheduler.name,
            servers=servers,
            why=why,
            chosen=str(chosen) if chosen is not None else "",
        ),
    )
    if chosen is None:
        ip_vs_scheduler_err(call, scheduler)
    return chosen


def ip_vs_scheduler_err(call: Call, scheduler: Scheduler) -> None:
    """Say in the kernel log, at most so often, that a service has no server to give."""
    service, net = call.service, call.net
    why = scheduler.no_server(call)
    if not why or not net_ratelimit(net, call.skb):
        return
    if service.fwmark:
        name = f"FWM {service.fwmark} 0x{service.fwmark:08X}"
    else:
        name = str(service)
    net.printk(call.skb, f"IPVS: {scheduler.name}: {name} - {why}")


def _tell_persistence(net: Net, service: VirtualServer, skb: Skb, server: RealServer) -> None:
    net.tell(
        skb,
        ServerChosen(
            service=str(service),
            scheduler=scheduler_name(service),
            servers=(),
            why="the client's persistence template names it; the scheduler is not asked",
            chosen=str(server),
        ),
    )


def ip_vs_leave(
    net: Net, service: VirtualServer, skb: Skb, protocol: Protocol, header: IpvsHeader
) -> Verdict:
    """Let the packet go past IPVS or refuse it, for lack of a server."""
    ports = header.ports(skb.data)
    assert ports is not None
    if (
        net.sysctl.get("net.ipv4.vs.cache_bypass")
        and service.fwmark
        and not (header.inverse or header.icmp)
        and inet_addr_type(net, header.daddr) == RouteType.UNICAST
    ):
        return _bypass(net, service, skb, protocol, header, ports)
    if service.port == FTPPORT and ports[1] != FTPPORT:
        return Verdict.ACCEPT
    if not header.icmp:
        # A RST cannot be sent: there is no socket, so TCP gets port unreachable, too.
        icmp_send(net, skb, IcmpType.DEST_UNREACH, ICMP_PORT_UNREACH, 0)
    return _drop(net, skb, f"{service}: {NO_SERVER}")


def _bypass(
    net: Net,
    service: VirtualServer,
    skb: Skb,
    protocol: Protocol,
    header: IpvsHeader,
    ports: tuple[int, int],
) -> Verdict:
    """Send the packet where it wanted to go, past the real servers."""
    table = net.generic(Ipvs).connections
    made = table.new(
        header.protocol,
        (header.saddr, ports[0]),
        (header.daddr, ports[1]),
        (bytes(len(header.daddr)), 0),
        flags=IP_VS_CONN_F_BYPASS | _one_packet(service, header),
        fwmark=skb.mark,
    )
    count_in(net, made, skb)
    if protocol.transition is not None:
        protocol.transition(net, made, Direction.INPUT, skb, header)
    verdict = packet_xmit(net, skb, made, protocol, header)
    made.in_pkts += 1
    table.put(made)
    return verdict
