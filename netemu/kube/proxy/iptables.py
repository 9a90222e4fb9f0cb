"""kube-proxy's iptables mode: what it hands to iptables-restore for one node.

Source: pkg/proxy/iptables/proxier.go, syncProxyRules (Kubernetes 1.30, differences by version).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct, field

from netemu.kube.proxy.names import endpoint_hash, port_proto_hash
from netemu.kube.proxy.settings import ProxySettings
from netemu.kube.proxy.text import TableText, comment, restore_text, rule_of
from netemu.kube.service_ports import (
    EndpointInfo,
    PortKey,
    ServicePortInfo,
    port_key,
)
from netemu.kube.topology import Categories, categorize_endpoints
from netemu.wire.address import in_prefix, parse_address, parse_prefix

LARGE_CLUSTER_ENDPOINTS = 1000
"""More endpoints than that, and rules about them carry no comments."""

MARK_MASQ = "KUBE-MARK-MASQ"
LAST_RULE = "kubernetes service nodeports; NOTE: this must be the last rule in this chain"


class PortChains(Struct, frozen=True, kw_only=True):
    """The names of a Service port's chains."""

    cluster: str
    local: str
    external: str
    firewall: str

    @classmethod
    def of(cls, port: ServicePortInfo) -> PortChains:
        """Return them."""
        name = port_proto_hash(port.name, port.protocol)
        return cls(
            cluster=f"KUBE-SVC-{name}",
            local=f"KUBE-SVL-{name}",
            external=f"KUBE-EXT-{name}",
            firewall=f"KUBE-FW-{name}",
        )


def endpoint_chain(port: ServicePortInfo, endpoint: EndpointInfo) -> str:
    """Return the name of an endpoint's chain."""
    return f"KUBE-SEP-{endpoint_hash(port.name, port.protocol, str(endpoint))}"


class PortRules(Struct):
    """What one Service port puts into the tables."""

    filter: list[tuple[str, str]] = field(default_factory=list)
    """Chain and rule; all of them stand in chains that Services share."""
    nat: list[tuple[str, str]] = field(default_factory=list)
    """Those of the shared chains."""
    chains: dict[str, list[str]] = field(default_factory=dict)
    """The rules of the port's own chains of the nat table."""


def render_iptables(
    settings: ProxySettings,
    ports: Sequence[ServicePortInfo],
    endpoints: Mapping[PortKey, list[EndpointInfo]],
) -> str:
    """Return the restore text of a full sync, in canonical order."""
    with_comments = not is_large(ports, endpoints)
    parts = [
        port_rules(settings, port, endpoints.get(port_key(port), []), with_comments=with_comments)
        for port in in_order(ports)
    ]
    filter_, nat = shared_tables(settings, parts)
    for part in parts:
        nat.chains.update(part.chains)
    return restore_text(filter_, nat)


def in_order(ports: Iterable[ServicePortInfo]) -> list[ServicePortInfo]:
    """Return Service ports in the order in which they are written here."""
    return sorted(ports, key=lambda port: (port.name, port.protocol))


def is_large(
    ports: Iterable[ServicePortInfo], endpoints: Mapping[PortKey, Sequence[EndpointInfo]]
) -> bool:
    """Return whether kube-proxy takes the cluster for a large one (largeClusterMode)."""
    total = sum(len(endpoints.get(port_key(port), ())) for port in ports)
    return total > LARGE_CLUSTER_ENDPOINTS


def port_rules(
    settings: ProxySettings,
    port: ServicePortInfo,
    endpoints: Sequence[EndpointInfo],
    *,
    with_comments: bool,
) -> PortRules:
    """Return what a Service port with these endpoints puts into the tables."""
    writer = _PortWriter(settings, port, endpoints, with_comments=with_comments)
    writer.write()
    return writer.rules


def shared_tables(
    settings: ProxySettings, parts: Iterable[PortRules]
) -> tuple[TableText, TableText]:
    """Return filter and nat with the chains that Services share, which every sync writes whole."""
    filter_, nat = TableText("filter"), TableText("nat")
    for name in (
        "KUBE-SERVICES",
        "KUBE-EXTERNAL-SERVICES",
        "KUBE-FORWARD",
        "KUBE-NODEPORTS",
        "KUBE-PROXY-FIREWALL",
    ):
        filter_.chain(name)
    for name in ("KUBE-SERVICES", "KUBE-NODEPORTS", "KUBE-POSTROUTING", MARK_MASQ):
        nat.chain(name)
    if settings.version.writes_firewall and settings.node_ports_on_loopback():
        localnet_rule(filter_)
    invalid_rule(filter_, settings)
    forward_rules(filter_, settings)
    masquerade_rules(nat, settings)
    for part in parts:
        for chain, rule in part.filter:
            filter_.rule(chain, rule)
        for chain, rule in part.nat:
            nat.rule(chain, rule)
    last_rules(nat, settings)
    return filter_, nat


def invalid_rule(table: TableText, settings: ProxySettings) -> None:
    """Drop what no connection explains, unless conntrack is told to be liberal."""
    if not (settings.be_liberal and settings.version.heeds_be_liberal):
        account = "ct_state_invalid_dropped_pkts"
        counted = settings.nfacct and settings.version.counts_by_nfacct
        table.rule(
            "KUBE-FORWARD",
            "-m conntrack --ctstate INVALID",
            f"-m nfacct --nfacct-name {account}" * counted,
            "-j DROP",
        )


def last_rules(table: TableText, settings: ProxySettings) -> None:
    """Send what is left for a local address to the NodePorts."""
    addresses = settings.node_port_ips()
    if addresses is None:
        except_loopback = ""
        if not settings.node_ports_on_loopback():
            except_loopback = f"! -d {settings.loopback}"
        destinations = [f"-m addrtype --dst-type LOCAL {except_loopback}".rstrip()]
    else:
        destinations = [f"-d {ip}" for ip in addresses]
    for destination in destinations:
        table.rule("KUBE-SERVICES", comment(LAST_RULE), destination, "-j KUBE-NODEPORTS")


def localnet_rule(table: TableText) -> None:
    """Keep packets for 127.0.0.0/8 from outside away, which route_localnet would let in."""
    table.rule(
        "KUBE-FIREWALL",
        comment("block incoming localnet connections"),
        "-d 127.0.0.0/8 ! -s 127.0.0.0/8",
        "-m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP",
    )


def mark_rule(table: TableText, settings: ProxySettings) -> None:
    """Let through FORWARD what is marked for masquerading."""
    mark = settings.masquerade_mark
    table.rule(
        "KUBE-FORWARD",
        comment("kubernetes forwarding rules"),
        f"-m mark --mark {mark}/{mark} -j ACCEPT",
    )


def forward_rules(table: TableText, settings: ProxySettings) -> None:
    """Let marked and known connections through FORWARD."""
    mark_rule(table, settings)
    table.rule(
        "KUBE-FORWARD",
        comment("kubernetes forwarding conntrack rule"),
        "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
    )


def masquerade_rules(table: TableText, settings: ProxySettings) -> None:
    """Masquerade what is marked, and take the mark off."""
    mark = settings.masquerade_mark
    table.rule("KUBE-POSTROUTING", f"-m mark ! --mark {mark}/{mark} -j RETURN")
    table.rule("KUBE-POSTROUTING", f"-j MARK --xor-mark {mark}")
    table.rule(
        "KUBE-POSTROUTING",
        comment("kubernetes service traffic requiring SNAT"),
        "-j MASQUERADE",
        "--random-fully" * settings.random_fully,
    )
    table.rule(MARK_MASQ, f"-j MARK --or-mark {mark}")


class _PortWriter:
    """Writes the rules of one Service port."""

    def __init__(
        self,
        settings: ProxySettings,
        port: ServicePortInfo,
        endpoints: Sequence[EndpointInfo],
        *,
        with_comments: bool,
    ) -> None:
        self.rules = PortRules()
        self.settings = settings
        self.port = port
        self.with_comments = with_comments
        self.chains = PortChains.of(port)
        self._names: dict[tuple[str, int], str] = {}
        self.found: Categories = categorize_endpoints(
            endpoints,
            port,
            zone=self.settings.zone,
            version=self.settings.version,
        )
        self.has_internal = self.found.any and not (
            port.internal_policy_local and not self.found.local
        )
        self.has_external = self.found.any and not (
            port.external_policy_local and not self.found.local
        )
        self.guarded = bool(self.found.any and port.load_balancer_ips and port.source_ranges)

    def write(self) -> None:
        """Write them in kube-proxy's order."""
        self._cluster_ip()
        self._external_ips()
        self._load_balancer_ips()
        self._node_port()
        if self.has_internal:
            self._internal_chain()
        if self.found.any and self.port.externally_accessible:
            self._external_chain()
        if self.guarded:
            self._firewall_chain()
        if self.found.cluster and self.port.uses_cluster_endpoints:
            self._balancing_chain(self.chains.cluster, self.found.cluster)
        if self.found.local and self.port.uses_local_endpoints:
            self._balancing_chain(self.chains.local, self.found.local)
        for endpoint in self.found.reachable:
            self._endpoint_chain(endpoint)

    def _filter(self, chain: str, *words: str) -> None:
        self.rules.filter.append((chain, rule_of(words)))

    def _nat(self, chain: str, *words: str) -> None:
        self.rules.nat.append((chain, rule_of(words)))

    def _own(self, chain: str, *words: str) -> None:
        self.rules.chains.setdefault(chain, []).append(rule_of(words))

    def _name_of(self, endpoint: EndpointInfo) -> str:
        """Return the name of an endpoint's chain, which takes a while to compute."""
        found = self._names.get((endpoint.ip, endpoint.port))
        if found is None:
            found = self._names[endpoint.ip, endpoint.port] = endpoint_chain(self.port, endpoint)
        return found

    def _protocol(self, destination: str, port: int) -> str:
        protocol = self.port.protocol
        words = f"-m {protocol} -p {protocol}"
        return (
            f"{words} -d {destination} --dport {port}" if destination else f"{words} --dport {port}"
        )

    def _refusal(self) -> tuple[str, str]:
        """Return comment and target for packets that no endpoint is there for."""
        if not self.found.any:
            return f"{self.port.name} has no endpoints", "-j REJECT"
        return f"{self.port.name} has no local endpoints", "-j DROP"

    def _internal(self) -> str:
        return self.chains.local if self.port.internal_policy_local else self.chains.cluster

    def _to_service(self, what: str, ip: str, chain: str) -> None:
        self._nat(
            "KUBE-SERVICES",
            comment(f"{self.port.name} {what}"),
            self._protocol(ip, self.port.port),
            f"-j {chain}",
        )

    def _refuse(self, chain: str, *words: str) -> None:
        text, target = self._refusal()
        self._filter(chain, comment(text), *words, target)

    def _cluster_ip(self) -> None:
        ip = self.port.cluster_ip
        if self.has_internal:
            self._to_service("cluster IP", ip, self._internal())
        else:
            self._refuse("KUBE-SERVICES", self._protocol(ip, self.port.port))

    def _external_ips(self) -> None:
        for ip in self.port.external_ips:
            if self.found.any:
                self._to_service("external IP", ip, self.chains.external)
            if not self.has_external:
                self._refuse("KUBE-EXTERNAL-SERVICES", self._protocol(ip, self.port.port))

    def _load_balancer_ips(self) -> None:
        chain = self.chains.firewall if self.guarded else self.chains.external
        for ip in self.port.load_balancer_ips:
            if self.found.any:
                self._to_service("loadbalancer IP", ip, chain)
            if self.guarded:
                self._filter(
                    "KUBE-PROXY-FIREWALL",
                    comment(f"{self.port.name} traffic not accepted by {self.chains.firewall}"),
                    self._protocol(ip, self.port.port),
                    "-j DROP",
                )
        if not self.has_external:
            for ip in self.port.load_balancer_ips:
                self._refuse("KUBE-EXTERNAL-SERVICES", self._protocol(ip, self.port.port))

    def _node_port(self) -> None:
        port, settings = self.port, self.settings
        if port.node_port:
            if self.found.any:
                jump = f"-j {self.chains.external}"
                counted = settings.nfacct and settings.version.counts_by_nfacct
                if counted and settings.node_ports_on_loopback():
                    self._nat(
                        "KUBE-NODEPORTS",
                        comment(port.name),
                        self._protocol("127.0.0.0/8", port.node_port),
                        "-m nfacct --nfacct-name localhost_nps_accepted_pkts",
                        jump,
                    )
                words = self._protocol("", port.node_port)
                self._nat("KUBE-NODEPORTS", comment(port.name), words, jump)
            if not self.has_external:
                self._refuse(
                    "KUBE-EXTERNAL-SERVICES",
                    "-m addrtype --dst-type LOCAL",
                    self._protocol("", port.node_port),
                )
        if port.health_check_node_port:
            self._filter(
                "KUBE-NODEPORTS",
                comment(f"{port.name} health check node port"),
                f"-m tcp -p tcp --dport {port.health_check_node_port} -j ACCEPT",
            )

    def _internal_chain(self) -> None:
        """Masquerade what comes from outside the pods' range to the ClusterIP."""
        settings = self.settings
        if settings.masquerade_all or settings.detect_not_local:
            self._own(
                self._internal(),
                comment(f"{self.port.name} cluster IP"),
                self._protocol(self.port.cluster_ip, self.port.port),
                "" if settings.masquerade_all else settings.detect_not_local,
                f"-j {MARK_MASQ}",
            )

    def _external_chain(self) -> None:
        name, chain = self.port.name, self.chains.external
        if not self.port.external_policy_local:
            self._own(
                chain,
                comment(f"masquerade traffic for {name} external destinations"),
                f"-j {MARK_MASQ}",
            )
            self._own(chain, f"-j {self.chains.cluster}")
            return
        if self.settings.detect_local:
            self._own(
                chain,
                comment(f"pod traffic for {name} external destinations"),
                self.settings.detect_local,
                f"-j {self.chains.cluster}",
            )
        self._own(
            chain,
            comment(f"masquerade LOCAL traffic for {name} external destinations"),
            f"-m addrtype --src-type LOCAL -j {MARK_MASQ}",
        )
        self._own(
            chain,
            comment(f"route LOCAL traffic for {name} external destinations"),
            f"-m addrtype --src-type LOCAL -j {self.chains.cluster}",
        )
        if self.has_external:
            self._own(chain, f"-j {self.chains.local}")

    def _firewall_chain(self) -> None:
        """Let the ranges in, and the node itself through its own load balancer's address."""
        chain = self.chains.firewall
        words = comment(f"{self.port.name} loadbalancer IP")
        jump = f"-j {self.chains.external}"
        for prefix in self.port.source_ranges:
            self._own(chain, words, f"-s {prefix}", jump)
        if node_in_ranges(self.settings.node_ip, self.port.source_ranges):
            for ip in self.port.load_balancer_ips:
                self._own(chain, words, f"-s {ip}", jump)
        text = f"other traffic to {self.port.name} will be dropped by KUBE-PROXY-FIREWALL"
        self._own(chain, comment(text))

    def _endpoint_comment(self, endpoint: EndpointInfo) -> str:
        text = f"{self.port.name} -> {endpoint}"
        return comment(text) if self.with_comments else ""

    def _balancing_chain(self, chain: str, endpoints: Sequence[EndpointInfo]) -> None:
        port = self.port
        if port.affinity_s:
            for endpoint in endpoints:
                name = self._name_of(endpoint)
                self._own(
                    chain,
                    self._endpoint_comment(endpoint),
                    f"-m recent --name {name} --rcheck --seconds {port.affinity_s} --reap",
                    f"-j {name}",
                )
        for left, endpoint in zip(range(len(endpoints), 0, -1), endpoints, strict=True):
            share = f"-m statistic --mode random --probability {1 / left:.10f}"
            self._own(
                chain,
                self._endpoint_comment(endpoint),
                share * (left > 1),
                f"-j {self._name_of(endpoint)}",
            )

    def _endpoint_chain(self, endpoint: EndpointInfo) -> None:
        """Masquerade a pod that meets itself, then translate."""
        port, chain = self.port, self._name_of(endpoint)
        words = comment(port.name) if self.with_comments else ""
        self._own(chain, words, f"-s {endpoint.ip}", f"-j {MARK_MASQ}")
        self._own(
            chain,
            words,
            f"-m recent --name {chain} --set" * bool(port.affinity_s),
            f"-m {port.protocol} -p {port.protocol} -j DNAT --to-destination {endpoint}",
        )


def node_in_ranges(node_ip: str, ranges: Sequence[str]) -> bool:
    """Return whether a node's address is in one of the prefixes."""
    if not node_ip:
        return False
    address = parse_address(node_ip)
    return any(in_prefix(address, *parse_prefix(text)) for text in ranges)
