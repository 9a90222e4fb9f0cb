"""kube-proxy's IPVS mode: sets, rules, addresses of kube-ipvs0, virtual and real servers.

Source: pkg/proxy/ipvs/proxier.go, ipset.go, pkg/proxy/ipvs/util (Kubernetes 1.30).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct, field

from netemu.kube.proxy.iptables import (
    MARK_MASQ,
    forward_rules,
    in_order,
    masquerade_rules,
    node_in_ranges,
)
from netemu.kube.proxy.parts import Jump, jump
from netemu.kube.proxy.settings import ProxySettings, is_loopback
from netemu.kube.proxy.text import TableText, comment, restore_text
from netemu.kube.service_ports import (
    IPV4,
    EndpointInfo,
    PortKey,
    ServicePortInfo,
    port_key,
)
from netemu.kube.topology import categorize_endpoints

DUMMY_DEVICE = "kube-ipvs0"
LONGEST_SET_NAME = 31

HASH_IP_PORT = "hash:ip,port"
HASH_IP_PORT_IP = "hash:ip,port,ip"
HASH_IP_PORT_NET = "hash:ip,port,net"
HASH_IP = "hash:ip"
BITMAP_PORT = "bitmap:port"

LOOP_BACK = "KUBE-LOOP-BACK"
CLUSTER_IP = "KUBE-CLUSTER-IP"
EXTERNAL_IP = "KUBE-EXTERNAL-IP"
EXTERNAL_IP_LOCAL = "KUBE-EXTERNAL-IP-LOCAL"
LOAD_BALANCER = "KUBE-LOAD-BALANCER"
LOAD_BALANCER_LOCAL = "KUBE-LOAD-BALANCER-LOCAL"
LOAD_BALANCER_FW = "KUBE-LOAD-BALANCER-FW"
SOURCE_CIDR = "KUBE-LOAD-BALANCER-SOURCE-CIDR"
SOURCE_IP = "KUBE-LOAD-BALANCER-SOURCE-IP"
HEALTH_CHECK = "KUBE-HEALTH-CHECK-NODE-PORT"
IPVS_IPS = "KUBE-IPVS-IPS"

SETS: dict[str, tuple[str, str]] = {
    LOOP_BACK: (
        HASH_IP_PORT_IP,
        "Kubernetes endpoints dst ip:port, source ip for solving hairpin purpose",
    ),
    CLUSTER_IP: (HASH_IP_PORT, "Kubernetes service cluster ip + port for masquerade purpose"),
    EXTERNAL_IP: (
        HASH_IP_PORT,
        "Kubernetes service external ip + port for masquerade and filter purpose",
    ),
    EXTERNAL_IP_LOCAL: (
        HASH_IP_PORT,
        "Kubernetes service external ip + port with externalTrafficPolicy=local",
    ),
    LOAD_BALANCER: (HASH_IP_PORT, "Kubernetes service lb portal"),
    LOAD_BALANCER_LOCAL: (
        HASH_IP_PORT,
        "Kubernetes service load balancer ip + port with externalTrafficPolicy=local",
    ),
    LOAD_BALANCER_FW: (
        HASH_IP_PORT,
        "Kubernetes service load balancer ip + port for load balancer with sourceRange",
    ),
    SOURCE_CIDR: (
        HASH_IP_PORT_NET,
        "Kubernetes service load balancer ip + port + source cidr for packet filter purpose",
    ),
    SOURCE_IP: (
        HASH_IP_PORT_IP,
        "Kubernetes service load balancer ip + port + source IP for packet filter purpose",
    ),
    "KUBE-NODE-PORT-TCP": (BITMAP_PORT, "Kubernetes nodeport TCP port for masquerade purpose"),
    "KUBE-NODE-PORT-LOCAL-TCP": (
        BITMAP_PORT,
        "Kubernetes nodeport TCP port with externalTrafficPolicy=local",
    ),
    "KUBE-NODE-PORT-UDP": (BITMAP_PORT, "Kubernetes nodeport UDP port for masquerade purpose"),
    "KUBE-NODE-PORT-LOCAL-UDP": (
        BITMAP_PORT,
        "Kubernetes nodeport UDP port with externalTrafficPolicy=local",
    ),
    "KUBE-NODE-PORT-SCTP-HASH": (
        HASH_IP_PORT,
        "Kubernetes nodeport SCTP port for masquerade purpose with type 'hash ip:port'",
    ),
    "KUBE-NODE-PORT-LOCAL-SCTP-HASH": (
        HASH_IP_PORT,
        "Kubernetes nodeport SCTP port with externalTrafficPolicy=local with type 'hash ip:port'",
    ),
    HEALTH_CHECK: (BITMAP_PORT, "Kubernetes health check node port"),
    IPVS_IPS: (HASH_IP, "Addresses on the ipvs interface"),
}
"""Each set's type and the comment of rules that use it."""


class VirtualServer(Struct):
    """One virtual server and its real servers."""

    protocol: str
    address: str
    port: int
    scheduler: str
    persistence_s: int = 0
    real_servers: list[str] = field(default_factory=list)
    """`IP:port`; all by NAT with weight 1."""

    @property
    def name(self) -> str:
        """`-t ADDRESS:PORT`, as ipvsadm names it."""
        option = {"tcp": "-t", "udp": "-u", "sctp": "--sctp-service"}[self.protocol]
        address = f"[{self.address}]" if ":" in self.address else self.address
        return f"{option} {address}:{self.port}"

    @property
    def options(self) -> str:
        """Scheduler, persistence and flags, as ipvsadm is given them."""
        persistence = f" -p {self.persistence_s}" if self.persistence_s else ""
        flags = " -b mh-port" if self.scheduler == "mh" else ""
        return f"-s {self.scheduler}{persistence}{flags}"


class IpvsState(Struct):
    """All that kube-proxy programs in IPVS mode."""

    octets: int
    sets: dict[str, list[str]] = field(default_factory=dict)
    """Entries by set, in the order in which they are added."""
    rules: str = ""
    addresses: list[str] = field(default_factory=list)
    """Addresses of kube-ipvs0."""
    servers: list[VirtualServer] = field(default_factory=list)

    def set_name(self, name: str) -> str:
        """Return a set's name in this family."""
        if self.octets == IPV4:
            return name
        return name.replace("KUBE-", "KUBE-6-", 1)[:LONGEST_SET_NAME]

    def ipset_text(self) -> str:
        """Return the sets as text for `ipset restore`."""
        lines: list[str] = []
        for name, create in zip(self._set_names(), self.create_lines(), strict=True):
            lines.append(create)
            lines += [f"add {self.set_name(name)} {entry}" for entry in self.sets[name]]
        return "".join(f"{line}\n" for line in lines)

    def _set_names(self) -> list[str]:
        return [name for name in SETS if name in self.sets]

    def create_lines(self) -> list[str]:
        """Return the commands that make the sets, empty."""
        hashed = f"family {'inet' if self.octets == IPV4 else 'inet6'} hashsize 1024 maxelem 65536"
        lines = []
        for name in self._set_names():
            kind, _ = SETS[name]
            options = "range 0-65535" if kind == BITMAP_PORT else hashed
            lines.append(f"create {self.set_name(name)} {kind} {options}")
        return lines

    def ipvsadm_text(self) -> str:
        """Return virtual and real servers as `ipvsadm -Sn` prints them."""
        lines: list[str] = []
        for server in self.servers:
            lines.append(f"-A {server.name} {server.options}")
            lines += [f"-a {server.name} -r {real} -m -w 1" for real in server.real_servers]
        return "".join(f"{line}\n" for line in lines)

    def addresses_text(self) -> str:
        """Return kube-ipvs0's addresses, one a line."""
        length = self.octets * 8
        return "".join(f"{address}/{length}\n" for address in self.addresses)


def bound_addresses(settings: ProxySettings, ports: Iterable[ServicePortInfo]) -> list[str]:
    """Return what kube-ipvs0 gets: ClusterIPs, and other addresses unless a device has them."""
    found: dict[str, None] = {}
    for port in in_order(ports):
        found[port.cluster_ip] = None
        for ip in (*port.external_ips, *port.load_balancer_ips):
            if ip not in settings.local_ips:
                found[ip] = None
    return list(found)


def render_ipvs(
    settings: ProxySettings,
    ports: Sequence[ServicePortInfo],
    endpoints: Mapping[PortKey, list[EndpointInfo]],
) -> IpvsState:
    """Return what a full sync programs."""
    writer = _Writer(settings, bound_addresses(settings, ports))
    for port in in_order(ports):
        writer.add(port, endpoints.get(port_key(port), []))
    writer.finish()
    return writer.state


def ipvs_jumps(settings: ProxySettings) -> list[Jump]:
    """Return the jumps from the base chains in the order in which they are put first."""
    portals, firewall = "kubernetes service portals", "kube-proxy firewall rules"
    access = "kubernetes ipvs access filter"
    found = [
        jump("nat", "OUTPUT", "KUBE-SERVICES", portals),
        jump("nat", "PREROUTING", "KUBE-SERVICES", portals),
        jump("nat", "POSTROUTING", "KUBE-POSTROUTING", "kubernetes postrouting rules"),
        jump("filter", "FORWARD", "KUBE-FORWARD", "kubernetes forwarding rules"),
        jump("filter", "INPUT", "KUBE-NODE-PORT", "kubernetes health check rules"),
        jump("filter", "INPUT", "KUBE-PROXY-FIREWALL", firewall),
        jump("filter", "FORWARD", "KUBE-PROXY-FIREWALL", firewall),
    ]
    if settings.version.has_ipvs_filter:
        found.append(jump("filter", "INPUT", "KUBE-IPVS-FILTER", access))
    if settings.version.has_ipvs_out_filter:
        found.append(jump("filter", "OUTPUT", "KUBE-IPVS-OUT-FILTER", access))
    return found


IPVS_SYSCTLS = {
    "net.ipv4.vs.conntrack": "1",
    "net.ipv4.vs.expire_nodest_conn": "1",
    "net.ipv4.vs.expire_quiescent_template": "1",
    "net.ipv4.ip_forward": "1",
}
STRICT_ARP_SYSCTLS = {
    "net.ipv4.conf.all.arp_ignore": "1",
    "net.ipv4.conf.all.arp_announce": "2",
}


class _Writer:
    """Goes through Services, then writes the rules that hold for all of them."""

    def __init__(self, settings: ProxySettings, addresses: list[str]) -> None:
        self.settings = settings
        self.state = IpvsState(octets=settings.octets, addresses=addresses)
        self._entries: dict[str, dict[str, None]] = {
            name: {} for name in SETS if name != IPVS_IPS or settings.version.has_ipvs_filter
        }
        for address in addresses:
            self._entry(IPVS_IPS, address)
        self.nat = TableText("nat")
        self.filter = TableText("filter")
        for name in (
            "KUBE-SERVICES",
            "KUBE-POSTROUTING",
            "KUBE-NODE-PORT",
            "KUBE-LOAD-BALANCER",
            MARK_MASQ,
        ):
            self.nat.chain(name)
        for name in (
            "KUBE-FORWARD",
            "KUBE-NODE-PORT",
            "KUBE-PROXY-FIREWALL",
            "KUBE-SOURCE-RANGES-FIREWALL",
        ):
            self.filter.chain(name)
        if settings.version.has_ipvs_filter:
            self.filter.chain("KUBE-IPVS-FILTER")
        if settings.version.has_ipvs_out_filter:
            self.filter.chain("KUBE-IPVS-OUT-FILTER")
        self._node_ports: list[tuple[ServicePortInfo, list[str]]] = []

    # --- Services ---------------------------------------------------------------------------------

    def add(self, port: ServicePortInfo, endpoints: Sequence[EndpointInfo]) -> None:
        """Take one Service port."""
        found = categorize_endpoints(
            endpoints,
            port,
            zone=self.settings.zone,
            version=self.settings.version,
        )
        for endpoint in endpoints:  # ready or not
            if endpoint.local:
                ip = endpoint.ip
                self._entry(LOOP_BACK, f"{ip},{port.protocol}:{endpoint.port},{ip}")
        cluster = [str(item) for item in found.cluster]
        local = [str(item) for item in found.local]
        # Pods keep their way to a Service whose own node has no endpoint; answers to clients
        # from outside get lost then.
        inside = (local or cluster) if port.internal_policy_local else cluster
        outside = (local or cluster) if port.external_policy_local else cluster
        self._entry(CLUSTER_IP, _ip_port(port.cluster_ip, port))
        self._server(port, port.cluster_ip, port.port, inside)
        for ip in port.external_ips:
            self._entry(
                EXTERNAL_IP_LOCAL if port.external_policy_local else EXTERNAL_IP,
                _ip_port(ip, port),
            )
            self._server(port, ip, port.port, outside)
        for ip in port.load_balancer_ips:
            self._load_balancer(port, ip)
            self._server(port, ip, port.port, outside)
        if port.node_port:
            if not self.node_ips():
                return  # kube-proxy leaves the health check port out, too
            self._node_port_entry(port)
            self._node_ports.append((port, outside))
        if port.health_check_node_port:
            self._entry(HEALTH_CHECK, str(port.health_check_node_port))

    def _entry(self, name: str, entry: str) -> None:
        if name in self._entries:
            self._entries[name][entry] = None

    def _server(
        self, port: ServicePortInfo, address: str, number: int, real_servers: list[str]
    ) -> None:
        self.state.servers.append(
            VirtualServer(
                protocol=port.protocol,
                address=address,
                port=number,
                scheduler=self.settings.scheduler,
                persistence_s=port.affinity_s,
                real_servers=real_servers,
            )
        )

    def _load_balancer(self, port: ServicePortInfo, ip: str) -> None:
        entry = _ip_port(ip, port)
        self._entry(LOAD_BALANCER, entry)
        if port.external_policy_local:
            self._entry(LOAD_BALANCER_LOCAL, entry)
        if not port.source_ranges:
            return
        self._entry(LOAD_BALANCER_FW, entry)
        for prefix in port.source_ranges:
            self._entry(SOURCE_CIDR, f"{entry},{prefix}")
        if node_in_ranges(self.settings.node_ip, port.source_ranges):
            self._entry(SOURCE_IP, f"{entry},{ip}")
        elif self.settings.version.has_ipvs_out_filter:
            self.filter.rule(
                "KUBE-IPVS-OUT-FILTER",
                f"-s {ip} -m ipvs --vaddr {ip} --vproto {port.protocol} --vport {port.port}",
                "-j DROP",
            )

    def _node_port_entry(self, port: ServicePortInfo) -> None:
        local = "LOCAL-" * port.external_policy_local
        protocol = port.protocol.upper()
        if port.protocol != "sctp":
            self._entry(f"KUBE-NODE-PORT-{protocol}", str(port.node_port))
            if local:
                self._entry(f"KUBE-NODE-PORT-{local}{protocol}", str(port.node_port))
            return
        for ip in self.node_ips():
            entry = f"{ip},sctp:{port.node_port}"
            self._entry("KUBE-NODE-PORT-SCTP-HASH", entry)
            if local:
                self._entry("KUBE-NODE-PORT-LOCAL-SCTP-HASH", entry)

    def node_ips(self) -> list[str]:
        """Return the addresses that NodePorts answer on."""
        chosen = self.settings.node_port_ips()
        ips = list(self.settings.local_ips) if chosen is None else chosen
        return [ip for ip in ips if not is_loopback(ip)]

    # --- Rules ------------------------------------------------------------------------------------

    def finish(self) -> None:
        """Write virtual servers of NodePorts, and the rules (writeIptablesRules)."""
        self.state.sets = {name: list(entries) for name, entries in self._entries.items()}
        bound = set(self.state.addresses)
        for port, real_servers in self._node_ports:
            for ip in self.node_ips():
                if ip not in bound:
                    self._server(port, ip, port.node_port, real_servers)
        self._portals()
        self._access_filter()
        forward_rules(self.filter, self.settings)
        masquerade_rules(self.nat, self.settings)
        self.state.rules = restore_text(self.nat, self.filter)

    def _match(self, name: str, directions: str, *, with_comment: bool = True) -> str:
        match = f"-m set --match-set {self.state.set_name(name)} {directions}"
        return f"{comment(SETS[name][1])} {match}" if with_comment else match

    def _if_filled(
        self, table: TableText, chain: str, name: str, rest: str, before: str = ""
    ) -> None:
        """Write a rule about a set unless the set is empty; `rest` begins with the directions."""
        if self.state.sets[name]:
            directions, _, words = rest.partition(" ")
            table.rule(chain, before, self._match(name, directions), words)

    def _portals(self) -> None:
        nat, settings = self.nat, self.settings
        nat.rule("KUBE-SERVICES", f"-s {settings.loopback} -j RETURN")
        self._if_filled(nat, "KUBE-POSTROUTING", LOOP_BACK, "dst,dst,src -j MASQUERADE")
        self._if_filled(nat, "KUBE-SERVICES", LOAD_BALANCER, "dst,dst -j KUBE-LOAD-BALANCER")
        self._if_filled(nat, "KUBE-LOAD-BALANCER", LOAD_BALANCER_LOCAL, "dst,dst -j RETURN")
        for protocol, suffix, directions in (
            ("tcp", "TCP", "dst"),
            ("udp", "UDP", "dst"),
            ("sctp", "SCTP-HASH", "dst,dst"),
        ):
            for name, target in (
                (f"KUBE-NODE-PORT-LOCAL-{suffix}", "RETURN"),
                (f"KUBE-NODE-PORT-{suffix}", MARK_MASQ),
            ):
                rest = f"{directions} -j {target}"
                self._if_filled(nat, "KUBE-NODE-PORT", name, rest, f"-p {protocol}")
        ranges = "KUBE-SOURCE-RANGES-FIREWALL"
        self._if_filled(
            self.filter, "KUBE-PROXY-FIREWALL", LOAD_BALANCER_FW, f"dst,dst -j {ranges}"
        )
        for name in (SOURCE_CIDR, SOURCE_IP):
            self._if_filled(self.filter, ranges, name, "dst,dst,src -j RETURN")
        self._cluster_ips()
        for name in (EXTERNAL_IP, EXTERNAL_IP_LOCAL):
            self._external_ips(name)
        nat.rule("KUBE-SERVICES", "-m addrtype --dst-type LOCAL -j KUBE-NODE-PORT")
        nat.rule("KUBE-LOAD-BALANCER", f"-j {MARK_MASQ}")
        self.filter.rule(ranges, "-j DROP")
        for name in (CLUSTER_IP, LOAD_BALANCER):
            if self.state.sets[name]:
                match = self._match(name, "dst,dst", with_comment=False)
                nat.rule("KUBE-SERVICES", match, "-j ACCEPT")

    def _cluster_ips(self) -> None:
        settings = self.settings
        rest = f"src,dst -j {MARK_MASQ}"
        if settings.masquerade_all:
            rest = f"dst,dst -j {MARK_MASQ}"
        elif settings.detect_not_local:
            rest = f"dst,dst {settings.detect_not_local} -j {MARK_MASQ}"
        self._if_filled(self.nat, "KUBE-SERVICES", CLUSTER_IP, rest)

    def _external_ips(self, name: str) -> None:
        if name == EXTERNAL_IP:
            self._if_filled(self.nat, "KUBE-SERVICES", name, f"dst,dst -j {MARK_MASQ}")
        outside = "-m physdev ! --physdev-is-in -m addrtype ! --src-type LOCAL"
        self._if_filled(self.nat, "KUBE-SERVICES", name, f"dst,dst {outside} -j ACCEPT")
        rest = "dst,dst -m addrtype --dst-type LOCAL -j ACCEPT"
        self._if_filled(self.nat, "KUBE-SERVICES", name, rest)

    def _access_filter(self) -> None:
        match = self._match(HEALTH_CHECK, "dst")
        self.filter.rule("KUBE-NODE-PORT", match, "-j ACCEPT")
        if not self.settings.version.has_ipvs_filter:
            return
        chain = "KUBE-IPVS-FILTER"
        for name in (LOAD_BALANCER, CLUSTER_IP, EXTERNAL_IP, EXTERNAL_IP_LOCAL):
            self.filter.rule(chain, self._match(name, "dst,dst", with_comment=False), "-j RETURN")
        health = self._match(HEALTH_CHECK, "dst", with_comment=False)
        self.filter.rule(chain, health, "-j RETURN")
        ips = self._match(IPVS_IPS, "dst", with_comment=False)
        self.filter.rule(chain, "-m conntrack --ctstate NEW", ips, "-j REJECT")


def _ip_port(ip: str, port: ServicePortInfo) -> str:
    return f"{ip},{port.protocol}:{port.port}"
