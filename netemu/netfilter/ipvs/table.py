"""All that IPVS keeps of one namespace, and how a virtual server is found.

Kernel: include/net/ip_vs.h (struct netns_ipvs), net/netfilter/ipvs/ip_vs_ctl.c.

Theory of operation: services are found by protocol, address and port, or by mark. The kernel hashes
them into 256 buckets each; here a dict finds them, and the bucket is kept for traces. It hangs on
an address of the kernel's memory, too, which counts as 0 here.
"""

from __future__ import annotations

from netemu.clock import Timer
from netemu.net import Net
from netemu.netfilter.ipvs.conn_table import ConnectionTable
from netemu.netfilter.ipvs.estimator import IpvsStats
from netemu.netfilter.ipvs.hashtable import fold_address
from netemu.netfilter.ipvs.service import (
    FTPDATA,
    FTPPORT,
    IP_VS_CONN_F_MASQ,
    IP_VS_CONN_F_TUNNEL,
    RealServer,
    Tunnel,
    TunnelType,
    VirtualServer,
)
from netemu.wire.ipv4 import IPPROTO_TCP

IP_VS_SVC_TAB_BITS = 8
"""256 buckets."""


def ip_vs_svc_hashkey(protocol: int, address: bytes, port: int) -> int:
    """Return the bucket of an addressed service."""
    hashed = protocol ^ fold_address(address) ^ (port >> IP_VS_SVC_TAB_BITS) ^ port
    return hashed & ((1 << IP_VS_SVC_TAB_BITS) - 1)


def ip_vs_svc_fwm_hashkey(fwmark: int) -> int:
    """Return the bucket of a mark's service."""
    return fwmark & ((1 << IP_VS_SVC_TAB_BITS) - 1)


RealKey = tuple[bytes, int]


class Ipvs:
    """The virtual servers, connections and settings of a namespace (struct netns_ipvs)."""

    __slots__ = (
        "_by_mark",
        "_null_services",
        "_real",
        "connections",
        "defends",
        "drop_counter",
        "ftp_services",
        "hooks_registered",
        "net",
        "services",
        "stats",
        "timeouts_s",
        "trash",
        "trash_timer",
    )

    def __init__(self, net: Net) -> None:
        """Start without services; found by `net.generic(Ipvs)`."""
        self.net = net
        self.services: dict[tuple[int, bytes, int], VirtualServer] = {}
        """By protocol, address and port, in order of creation."""
        self._by_mark: dict[int, VirtualServer] = {}
        self._real: dict[RealKey, list[RealServer]] = {}
        """Masqueraded servers by end, tunnels by address and tunnel port; newest first."""
        self.ftp_services = 0
        self._null_services = 0
        self.connections = ConnectionTable(net)
        self.trash: list[RealServer] = []
        """Servers that were removed while connections name them; newest first."""
        self.trash_timer: Timer | None = None
        self.defends = False
        """Each second connections are dropped (drop_entry)."""
        self.hooks_registered = False
        """IPVS stands at the hooks; its functions do nothing while there is no service."""
        self.timeouts_s: dict[int, dict[int, int]] = {}
        """Timeouts that ipvsadm --set changed: protocol -> state -> seconds."""
        self.drop_counter = 0
        """Packets that want a server until drop_packet drops the next one."""
        self.stats = IpvsStats()

    @property
    def in_use(self) -> bool:
        """Whether there is any service."""
        return bool(self.services) or bool(self._by_mark)

    def all_services(self) -> list[VirtualServer]:
        """Return addressed services, then those of marks."""
        return [*self.services.values(), *self._by_mark.values()]

    def find_exact(
        self, fwmark: int, protocol: int, address: bytes, port: int
    ) -> VirtualServer | None:
        """Return the service that an administrator names."""
        if fwmark:
            return self._by_mark.get(fwmark)
        return self.services.get((protocol, address, port))

    def find(self, fwmark: int, protocol: int, address: bytes, port: int) -> VirtualServer | None:
        """Return the service of a packet (ip_vs_service_find)."""
        if fwmark:
            found = self._by_mark.get(fwmark)
            if found is not None:
                return found
        services = self.services
        found = services.get((protocol, address, port))
        if found is None and protocol == IPPROTO_TCP and self.ftp_services:
            privileged = self.net.sysctl.get("net.ipv4.ip_unprivileged_port_start")
            if port == FTPDATA or port >= privileged:
                found = services.get((protocol, address, FTPPORT))
        if found is None and self._null_services:
            found = services.get((protocol, address, 0))
        return found

    def hash_service(self, service: VirtualServer) -> None:
        """Put a service into the table (ip_vs_svc_hash)."""
        if service.fwmark:
            service.bucket = ip_vs_svc_fwm_hashkey(service.fwmark)
            self._by_mark[service.fwmark] = service
        else:
            service.bucket = ip_vs_svc_hashkey(*service.key)
            self.services[service.key] = service
        self._count(service, 1)

    def unhash_service(self, service: VirtualServer) -> None:
        """Take a service out of the table (ip_vs_svc_unhash)."""
        if service.fwmark:
            del self._by_mark[service.fwmark]
        else:
            del self.services[service.key]
        self._count(service, -1)

    def _count(self, service: VirtualServer, step: int) -> None:
        if service.port == FTPPORT:
            self.ftp_services += step
        elif service.port == 0:
            self._null_services += step

    def hash_real(self, server: RealServer) -> None:
        """Let a real server be found by its end (ip_vs_rs_hash)."""
        key = _real_key(server)
        if key is not None:
            self._real.setdefault(key, []).insert(0, server)

    def unhash_real(self, server: RealServer) -> None:
        """Undo `hash_real`, if it was done (ip_vs_rs_unhash)."""
        key = _real_key(server)
        bucket = self._real.get(key) if key is not None else None
        if key is not None and bucket is not None and server in bucket:
            bucket.remove(server)
            if not bucket:
                del self._real[key]

    def has_real_service(self, protocol: int, address: bytes, port: int) -> bool:
        """Return whether an end is a masqueraded server (ip_vs_has_real_service)."""
        return any(
            server.port == port
            and server.forward == IP_VS_CONN_F_MASQ
            and (server.protocol == protocol or server.vfwmark)
            for server in self._real.get((address, port), ())
        )

    def find_tunnel(self, address: bytes, port: int) -> RealServer | None:
        """Return the server at the end of a tunnel (ip_vs_find_tunnel)."""
        for server in self._real.get((address, port), ()):
            if server.forward == IP_VS_CONN_F_TUNNEL and server.tunnel.port == port:
                return server
        return None


def _real_key(server: RealServer) -> RealKey | None:
    if server.forward == IP_VS_CONN_F_MASQ:
        return server.address, server.port
    if server.forward == IP_VS_CONN_F_TUNNEL:
        return server.address, _tunnel_port(server.tunnel)
    return None


def _tunnel_port(tunnel: Tunnel) -> int:
    return tunnel.port if tunnel.kind == TunnelType.GUE else 0
