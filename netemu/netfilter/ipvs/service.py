"""Virtual servers and their real servers.

Kernel: include/net/ip_vs.h (struct ip_vs_service, struct ip_vs_dest).

Theory of operation: a virtual server is an address with protocol and port, or a firewall mark. Its
real servers stand in a list with the newest first, and that is the order in which schedulers walk.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag

from msgspec import Struct

from netemu.netfilter.ipvs.estimator import IpvsStats
from netemu.wire.address import format_address

IP_VS_CONN_F_FWD_MASK = 0x0007
IP_VS_CONN_F_MASQ = 0x0000
IP_VS_CONN_F_LOCALNODE = 0x0001
IP_VS_CONN_F_TUNNEL = 0x0002
IP_VS_CONN_F_DROUTE = 0x0003
IP_VS_CONN_F_BYPASS = 0x0004
"""Forwarding methods (include/uapi/linux/ip_vs.h)."""

FORWARD_WORDS = {
    IP_VS_CONN_F_MASQ: "Masq",
    IP_VS_CONN_F_LOCALNODE: "Local",
    IP_VS_CONN_F_TUNNEL: "Tunnel",
    IP_VS_CONN_F_DROUTE: "Route",
    IP_VS_CONN_F_BYPASS: "Bypass",
}
"""What ipvsadm -L calls them."""

FTPPORT = 21
FTPDATA = 20


class ServiceFlag(IntFlag):
    """IP_VS_SVC_F_*."""

    PERSISTENT = 0x0001
    HASHED = 0x0002
    ONEPACKET = 0x0004
    """One-packet scheduling: every UDP packet gets a server anew."""
    SCHED1 = 0x0008
    SCHED2 = 0x0010
    SCHED3 = 0x0020


NO_FLAGS = ServiceFlag(0)


class TunnelType(IntEnum):
    """IP_VS_CONN_F_TUNNEL_TYPE_*."""

    IPIP = 0
    GUE = 1
    GRE = 2


class Tunnel(Struct, frozen=True):
    """How packets are wrapped for a real server that is reached by a tunnel."""

    kind: TunnelType = TunnelType.IPIP
    port: int = 0
    """UDP port of GUE."""
    checksum: bool = False
    """Outer UDP or GRE checksum."""
    remote_checksum: bool = False
    """GUE's remote checksum offload."""


IPIP = Tunnel()


class RealServerSpec(Struct, kw_only=True):
    """What an administrator says of a real server (struct ip_vs_dest_user_kern)."""

    address: bytes
    port: int
    weight: int = 1
    forward: int = IP_VS_CONN_F_MASQ
    u_threshold: int = 0
    l_threshold: int = 0
    tunnel: Tunnel = IPIP


class VirtualServerSpec(Struct, kw_only=True):
    """What an administrator says of a virtual server (struct ip_vs_service_user_kern)."""

    protocol: int = 0
    address: bytes = bytes(4)
    port: int = 0
    fwmark: int = 0
    scheduler: str = "wlc"
    flags: ServiceFlag = NO_FLAGS
    timeout_s: int = 0
    netmask: bytes = b"\xff\xff\xff\xff"
    engine: str = ""
    """Persistence engine."""


class RealServer:
    """One real server of a virtual one (struct ip_vs_dest)."""

    __slots__ = (
        "activeconns",
        "address",
        "available",
        "conn_flags",
        "holders",
        "idle_start",
        "inactconns",
        "l_threshold",
        "last_weight",
        "next_hop_known",
        "overload",
        "persistconns",
        "port",
        "protocol",
        "service",
        "stats",
        "tunnel",
        "u_threshold",
        "vaddr",
        "vfwmark",
        "vport",
        "weight",
    )

    def __init__(self, service: VirtualServer, spec: RealServerSpec) -> None:
        """Make a server of `service` without connections."""
        self.service = service
        self.address = spec.address
        self.port = spec.port
        self.protocol = service.protocol
        self.vaddr = service.address
        self.vport = service.port
        self.vfwmark = service.fwmark
        self.weight = 0
        self.last_weight = 0
        """The latest weight that was not 0."""
        self.conn_flags = 0
        """Flags that connections to it start with: forwarding method and IP_VS_CONN_F_*."""
        self.tunnel = IPIP
        self.u_threshold = 0
        self.l_threshold = 0
        self.overload = False
        """Has more connections than it may have (IP_VS_DEST_F_OVERLOAD)."""
        self.available = False
        """In its virtual server's list, not in the trash (IP_VS_DEST_CF_AVAILABLE)."""
        self.activeconns = 0
        self.inactconns = 0
        self.persistconns = 0
        self.holders = 0
        """Connections and scheduler tables that name it; it stays in the trash while there are."""
        self.next_hop_known: bool | None = None
        """Its cached route takes it for the neighbour; None before there is one."""
        self.idle_start = 0
        """Jiffy at which the trash found it unused; 0 before."""
        self.stats = IpvsStats()

    @property
    def forward(self) -> int:
        """Forwarding method (IP_VS_DFWD_METHOD)."""
        return self.conn_flags & IP_VS_CONN_F_FWD_MASK

    @property
    def totalconns(self) -> int:
        """All connections but persistence templates (ip_vs_dest_totalconns)."""
        return self.activeconns + self.inactconns

    @property
    def overhead(self) -> int:
        """What its connections weigh for lc, wlc, lblc, lblcr, twos (ip_vs_dest_conn_overhead)."""
        return (self.activeconns << 8) + self.inactconns

    def __str__(self) -> str:
        """ADDRESS:PORT."""
        return f"{format_address(self.address)}:{self.port}"


class VirtualServer:
    """An address that IPVS answers for (struct ip_vs_service)."""

    __slots__ = (
        "address",
        "bucket",
        "conntrack",
        "destinations",
        "engine",
        "flags",
        "fwmark",
        "netmask",
        "port",
        "protocol",
        "sched_data",
        "scheduler",
        "stats",
        "timeout_s",
    )

    def __init__(self, spec: VirtualServerSpec) -> None:
        """Make a virtual server without real ones, scheduler and place in the table."""
        self.protocol = spec.protocol
        self.address = spec.address
        self.port = spec.port
        self.fwmark = spec.fwmark
        self.flags = spec.flags
        self.timeout_s = spec.timeout_s
        """Persistence timeout."""
        self.netmask = spec.netmask
        """Granularity of persistence."""
        self.engine = spec.engine
        self.scheduler: object | None = None
        """Its declaration; read it with scheduler_of."""
        self.sched_data: object | None = None
        """What the scheduler remembers."""
        self.destinations: list[RealServer] = []
        """Newest first."""
        self.bucket = 0
        """Its place in the service table, for traces."""
        self.conntrack = False
        """It keeps conntrack on (conntrack_afmask)."""
        self.stats = IpvsStats()

    @property
    def key(self) -> tuple[int, bytes, int]:
        """Key in the table of addressed services."""
        return self.protocol, self.address, self.port

    def find(self, address: bytes, port: int) -> RealServer | None:
        """Return a real server (ip_vs_lookup_dest)."""
        for server in self.destinations:
            if server.address == address and server.port == port:
                return server
        return None

    def __str__(self) -> str:
        """`TCP ADDRESS:PORT` or `FWM MARK`."""
        if self.fwmark:
            return f"FWM {self.fwmark}"
        word = PROTOCOL_WORDS.get(self.protocol, str(self.protocol))
        return f"{word} {format_address(self.address)}:{self.port}"


PROTOCOL_WORDS = {0: "IP", 6: "TCP", 17: "UDP", 50: "ESP", 51: "AH", 132: "SCTP"}
"""Names of protocols in listings (ip_vs_proto_name)."""
