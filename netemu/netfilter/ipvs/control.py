"""What an administrator does with IPVS: services and servers come, change and go.

Kernel: net/netfilter/ipvs/ip_vs_ctl.c.

Theory of operation: a removed real server goes to the trash and stays there while connections name
it. Added again to the same service it comes back with its connections and their counts.
"""

from __future__ import annotations

from functools import partial

from netemu.clock import NSEC_PER_SEC
from netemu.errors import RulesetError
from netemu.ip.fib import inet_addr_type
from netemu.ip.fib_table import RouteType
from netemu.net import Net
from netemu.netfilter.conntrack.core import nf_ct_netns_get, nf_ct_netns_put
from netemu.netfilter.hook import Family, Hook, Priority
from netemu.netfilter.ipvs.connection import (
    IP_VS_CONN_F_INACTIVE,
    IP_VS_CONN_F_NOOUTPUT,
    IpvsConnection,
)
from netemu.netfilter.ipvs.core import ip_vs_forward_icmp, ip_vs_in_hook, ip_vs_out_hook
from netemu.netfilter.ipvs.defense import start_defense
from netemu.netfilter.ipvs.scheduler import Scheduler, scheduler_of
from netemu.netfilter.ipvs.schedulers import BY_NAME
from netemu.netfilter.ipvs.service import (
    FTPPORT,
    IP_VS_CONN_F_MASQ,
    RealServer,
    RealServerSpec,
    ServiceFlag,
    VirtualServer,
    VirtualServerSpec,
)
from netemu.netfilter.ipvs.table import Ipvs
from netemu.netfilter.ipvs.tcp import TcpState
from netemu.netfilter.ipvs.udp import UDP_NORMAL
from netemu.wire.ipv4 import IPPROTO_TCP, IPPROTO_UDP

IP_VS_DEST_TRASH_PERIOD_S = 120
"""A server that nobody names leaves the trash after so long."""

NO_SCHEDULER = "none"


def ip_vs_add_service(net: Net, spec: VirtualServerSpec) -> VirtualServer:
    """Add a virtual server; RulesetError with the tool's words when the kernel would not."""
    ipvs = net.generic(Ipvs)
    if ipvs.find_exact(spec.fwmark, spec.protocol, spec.address, spec.port) is not None:
        raise RulesetError("Service already exists")
    scheduler = _scheduler(spec.scheduler)
    if spec.engine:
        raise RulesetError(
            f"persistence engine {spec.engine} reads the packets' payload, which netemu does not"
        )
    ip_vs_register_hooks(net)
    service = VirtualServer(spec)
    _bind_scheduler(net, service, scheduler)
    service.flags |= ServiceFlag.HASHED
    ipvs.hash_service(service)
    start_defense(ipvs)
    return service


def ip_vs_edit_service(net: Net, service: VirtualServer, spec: VirtualServerSpec) -> None:
    """Change scheduler, flags and persistence of a virtual server."""
    scheduler = _scheduler(spec.scheduler)
    if scheduler is not service.scheduler:
        _unbind_scheduler(net, service)
        _bind_scheduler(net, service, scheduler)
    service.flags = spec.flags | ServiceFlag.HASHED
    service.timeout_s = spec.timeout_s
    service.netmask = spec.netmask


def ip_vs_del_service(net: Net, service: VirtualServer) -> None:
    """Remove a virtual server; its real ones go to the trash."""
    ipvs = net.generic(Ipvs)
    if service.conntrack:
        service.conntrack = False
        nf_ct_netns_put(net)
    ipvs.unhash_service(service)
    _unbind_scheduler(net, service)
    for server in list(service.destinations):
        server.available = False
        service.destinations.remove(server)
        _to_trash(ipvs, server)


def ip_vs_flush(net: Net) -> None:
    """Remove all virtual servers (ipvsadm -C); connections stay."""
    for service in net.generic(Ipvs).all_services():
        ip_vs_del_service(net, service)


def ip_vs_add_dest(net: Net, service: VirtualServer, spec: RealServerSpec) -> RealServer:
    """Add a real server, or take it back from the trash."""
    _check_thresholds(spec)
    if service.find(spec.address, spec.port) is not None:
        raise RulesetError("Destination already exists")
    ipvs = net.generic(Ipvs)
    server = _from_trash(ipvs, service, spec)
    if server is None:
        if inet_addr_type(net, spec.address) not in {RouteType.LOCAL, RouteType.UNICAST}:
            raise RulesetError("Invalid argument: the address is neither local nor unicast")
        server = RealServer(service, spec)
    _update_dest(net, service, server, spec, add=True)
    return server


def ip_vs_edit_dest(net: Net, service: VirtualServer, spec: RealServerSpec) -> RealServer:
    """Change weight, method or thresholds of a real server."""
    _check_thresholds(spec)
    server = service.find(spec.address, spec.port)
    if server is None:
        raise RulesetError("No such destination")
    _update_dest(net, service, server, spec, add=False)
    return server


def ip_vs_del_dest(net: Net, service: VirtualServer, address: bytes, port: int) -> None:
    """Remove a real server from its service."""
    server = service.find(address, port)
    if server is None:
        raise RulesetError("No such destination")
    position = service.destinations.index(server)
    server.available = False
    del service.destinations[position]
    scheduler = scheduler_of(service)
    if scheduler is not None and scheduler.del_dest is not None:
        scheduler.del_dest(net, service, server, position)
    _to_trash(net.generic(Ipvs), server)


def ip_vs_set_timeouts(net: Net, tcp_s: int, tcp_fin_s: int, udp_s: int) -> None:
    """Set timeouts for connections to come; 0 leaves one alone (ipvsadm --set)."""
    timeouts = net.generic(Ipvs).timeouts_s
    tcp = timeouts.setdefault(IPPROTO_TCP, {})
    if tcp_s:
        tcp[TcpState.ESTABLISHED] = tcp_s
    if tcp_fin_s:
        tcp[TcpState.FIN_WAIT] = tcp_fin_s
    if udp_s:
        timeouts.setdefault(IPPROTO_UDP, {})[UDP_NORMAL] = udp_s


def ip_vs_register_hooks(net: Net) -> None:
    """Take IPVS's places at the hooks."""
    ipvs = net.generic(Ipvs)
    if ipvs.hooks_registered:
        return
    ipvs.hooks_registered = True
    register = partial(net.hooks.register, Family.IPV4)
    register(Hook.INPUT, Priority.NAT_SRC - 2, partial(ip_vs_out_hook, net))
    register(Hook.INPUT, Priority.NAT_SRC - 1, partial(ip_vs_in_hook, net))
    register(Hook.OUTPUT, Priority.NAT_DST + 1, partial(ip_vs_out_hook, net))
    register(Hook.OUTPUT, Priority.NAT_DST + 2, partial(ip_vs_in_hook, net))
    register(Hook.FORWARD, 99, partial(ip_vs_forward_icmp, net))
    register(Hook.FORWARD, 100, partial(ip_vs_out_hook, net))


def _scheduler(name: str) -> Scheduler | None:
    if name == NO_SCHEDULER:
        return None
    found = BY_NAME.get(name)
    if found is None:
        raise RulesetError(
            f'Scheduler or persistence engine not found: "{name}"; there are {", ".join(BY_NAME)}'
        )
    return found


def _bind_scheduler(net: Net, service: VirtualServer, scheduler: Scheduler | None) -> None:
    service.scheduler = scheduler
    if scheduler is not None and scheduler.init_service is not None:
        service.sched_data = scheduler.init_service(net, service)


def _unbind_scheduler(net: Net, service: VirtualServer) -> None:
    scheduler = scheduler_of(service)
    if scheduler is not None and scheduler.done_service is not None:
        scheduler.done_service(net, service)
    service.scheduler = None
    service.sched_data = None


def _check_thresholds(spec: RealServerSpec) -> None:
    if spec.weight < 0:
        raise RulesetError("Numerical result out of range: a weight is not negative")
    if spec.l_threshold > spec.u_threshold:
        raise RulesetError(
            "Numerical result out of range: the lower threshold is above the upper one"
        )


def _update_dest(
    net: Net, service: VirtualServer, server: RealServer, spec: RealServerSpec, *, add: bool
) -> None:
    """Kernel: __ip_vs_update_dest."""
    ipvs = net.generic(Ipvs)
    if add or spec.weight:
        server.last_weight = spec.weight
    server.weight = spec.weight
    ipvs.unhash_real(server)
    server.conn_flags = spec.forward | IP_VS_CONN_F_INACTIVE
    server.tunnel = spec.tunnel
    server.next_hop_known = None
    if spec.forward != IP_VS_CONN_F_MASQ:
        server.conn_flags |= IP_VS_CONN_F_NOOUTPUT
    elif service.port == FTPPORT and not service.conntrack:
        # Rewriting the FTP dialogue needs conntrack (ip_vs_register_conntrack).
        service.conntrack = True
        nf_ct_netns_get(net)
    ipvs.hash_real(server)
    if server.service is not service:
        # It comes from the trash of a service that was removed.
        server.stats.zero(net.clock)
        server.service = service
    server.available = True
    if not spec.u_threshold or spec.u_threshold > server.u_threshold:
        server.overload = False
    server.u_threshold = spec.u_threshold
    server.l_threshold = spec.l_threshold
    scheduler = scheduler_of(service)
    if add:
        service.destinations.insert(0, server)
        if scheduler is not None and scheduler.add_dest is not None:
            scheduler.add_dest(net, service, server)
    elif scheduler is not None and scheduler.upd_dest is not None:
        scheduler.upd_dest(net, service, server)


def _to_trash(ipvs: Ipvs, server: RealServer) -> None:
    """Kernel: __ip_vs_del_dest."""
    ipvs.unhash_real(server)
    if not ipvs.trash:
        _start_trash_timer(ipvs)
    ipvs.trash.insert(0, server)
    server.idle_start = 0
    if ipvs.net.sysctl.get("net.ipv4.vs.expire_nodest_conn"):
        clock = ipvs.net.clock
        soon = clock.start_ns + clock.jiffies_to_ns(clock.jiffies + 1)
        clock.call_at(soon, lambda: ipvs.connections.flush(_without_server))


def _without_server(connection: IpvsConnection) -> bool:
    return connection.server is not None and not connection.server.available


def _from_trash(ipvs: Ipvs, service: VirtualServer, spec: RealServerSpec) -> RealServer | None:
    """Kernel: ip_vs_trash_get_dest."""
    for server in ipvs.trash:
        if (
            server.address == spec.address
            and server.port == spec.port
            and server.vfwmark == service.fwmark
            and server.protocol == service.protocol
            and (
                service.fwmark or (server.vaddr == service.address and server.vport == service.port)
            )
        ):
            ipvs.trash.remove(server)
            return server
    return None


def _start_trash_timer(ipvs: Ipvs) -> None:
    delay = IP_VS_DEST_TRASH_PERIOD_S // 2 * NSEC_PER_SEC
    ipvs.trash_timer = ipvs.net.clock.call_later(delay, lambda: _trash_expire(ipvs))


def _trash_expire(ipvs: Ipvs) -> None:
    """Forget servers that nobody has named for a while (ip_vs_dest_trash_expire)."""
    clock = ipvs.net.clock
    now = clock.jiffies
    for server in list(ipvs.trash):
        if server.holders:
            continue
        if not server.idle_start:
            server.idle_start = max(1, now)
        elif now >= server.idle_start + IP_VS_DEST_TRASH_PERIOD_S * clock.hz:
            ipvs.trash.remove(server)
    if ipvs.trash:
        _start_trash_timer(ipvs)
