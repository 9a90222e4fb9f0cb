"""kube-proxy's iptables mode: what it hands to iptables-restore for one node.

Source: pkg/proxy/iptables/proxier.go, syncProxyRules (Kubernetes 1.30, differences by version).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from netemu.kube.proxy.names import endpoint_hash, port_proto_hash
from netemu.kube.proxy.settings import ProxySettings
from netemu.kube.proxy.text import TableText, comment, restore_text
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


@dataclass(frozen=True, slots=True, kw_only=True)
class PortChains:
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


def render_iptables(
    settings: ProxySettings,
    ports: Sequence[ServicePortInfo],
    endpoints: Mapping[PortKey, list[EndpointInfo]],
) -> str:
    """Return the restore text of a full sync, in canonical order."""
    total = sum(len(endpoints.get(port_key(port), [])) for port in ports)
    writer = _Writer(settings, with_comments=total <= LARGE_CLUSTER_ENDPOINTS)
    for port in sorted(ports, key=lambda port: (port.name, port.protocol)):
        _PortWriter(writer, port, endpoints.get(port_key(port), [])).write()
    writer.finish()
    return restore_text(writer.filter, writer.nat)


class _Writer:
    """The two tables, begun with what stands in them on every node."""

    def __init__(self, settings: ProxySettings, *, with_comments: bool) -> None:
        self.settings = settings
        self.with_comments = with_comments
        self.filter = TableText("filter")
        self.nat = TableText("nat")
        for name in (
            "KUBE-SERVICES",
            "KUBE-EXTERNAL-SERVICES",
            "KUBE-FORWARD",
            "KUBE-NODEPORTS",
            "KUBE-PROXY-FIREWALL",
        ):
            self.filter.chain(name)
        for name in ("KUBE-SERVICES", "KUBE-NODEPORTS", "KUBE-POSTROUTING", MARK_MASQ):
            self.nat.chain(name)
        if settings.version.writes_firewall and settings.node_ports_on_loopback():
            localnet_rule(self.filter)
        self._forward()
        masquerade_rules(self.nat, settings)

    def _forward(self) -> None:
        settings = self.settings
        if not (settings.be_liberal and settings.version.heeds_be_liberal):
            account = "ct_state_invalid_dropped_pkts"
            counted = settings.nfacct and settings.version.counts_by_nfacct
            self.filter.rule(
                "KUBE-FORWARD",
                "-m conntrack --ctstate INVALID",
                f"-m nfacct --nfacct-name {account}" * counted,
                "-j DROP",
            )
        forward_rules(self.filter, settings)

    def finish(self) -> None:
        """Send what is left for a local address to the NodePorts, as the last rules."""
        settings = self.settings
        addresses = settings.node_port_ips()
        if addresses is None:
            except_loopback = ""
            if not settings.node_ports_on_loopback():
                except_loopback = f"! -d {settings.loopback}"
            destinations = [f"-m addrtype --dst-type LOCAL {except_loopback}".rstrip()]
        else:
            destinations = [f"-d {ip}" for ip in addresses]
        for destination in destinations:
            self.nat.rule("KUBE-SERVICES", comment(LAST_RULE), destination, "-j KUBE-NODEPORTS")


def localnet_rule(table: TableText) -> None:
    """Keep packets for 127.0.0.0/8 from outside away, which route_localnet would let in."""
    table.rule(
        "KUBE-FIREWALL",
        comment("block incoming localnet connections"),
        "-d 127.0.0.0/8 ! -s 127.0.0.0/8",
        "-m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP",
    )


def forward_rules(table: TableText, settings: ProxySettings) -> None:
    """Let marked and known connections through FORWARD."""
    mark = settings.masquerade_mark
    table.rule(
        "KUBE-FORWARD",
        comment("kubernetes forwarding rules"),
        f"-m mark --mark {mark}/{mark} -j ACCEPT",
    )
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
        self, writer: _Writer, port: ServicePortInfo, endpoints: Sequence[EndpointInfo]
    ) -> None:
        self.writer = writer
        self.settings = writer.settings
        self.port = port
        self.chains = PortChains.of(port)
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
        self.writer.nat.rule(
            "KUBE-SERVICES",
            comment(f"{self.port.name} {what}"),
            self._protocol(ip, self.port.port),
            f"-j {chain}",
        )

    def _refuse(self, chain: str, *words: str) -> None:
        text, target = self._refusal()
        self.writer.filter.rule(chain, comment(text), *words, target)

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
                self.writer.filter.rule(
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
                    self.writer.nat.rule(
                        "KUBE-NODEPORTS",
                        comment(port.name),
                        self._protocol("127.0.0.0/8", port.node_port),
                        "-m nfacct --nfacct-name localhost_nps_accepted_pkts",
                        jump,
                    )
                words = self._protocol("", port.node_port)
                self.writer.nat.rule("KUBE-NODEPORTS", comment(port.name), words, jump)
            if not self.has_external:
                self._refuse(
                    "KUBE-EXTERNAL-SERVICES",
                    "-m addrtype --dst-type LOCAL",
                    self._protocol("", port.node_port),
                )
        if port.health_check_node_port:
            self.writer.filter.rule(
                "KUBE-NODEPORTS",
                comment(f"{port.name} health check node port"),
                f"-m tcp -p tcp --dport {port.health_check_node_port} -j ACCEPT",
            )

    def _internal_chain(self) -> None:
        """Masquerade what comes from outside the pods' range to the ClusterIP."""
        settings = self.settings
        if settings.masquerade_all or settings.detect_not_local:
            self.writer.nat.rule(
                self._internal(),
                comment(f"{self.port.name} cluster IP"),
                self._protocol(self.port.cluster_ip, self.port.port),
                "" if settings.masquerade_all else settings.detect_not_local,
                f"-j {MARK_MASQ}",
            )

    def _external_chain(self) -> None:
        nat, name, chain = self.writer.nat, self.port.name, self.chains.external
        nat.chain(chain)
        if not self.port.external_policy_local:
            nat.rule(
                chain,
                comment(f"masquerade traffic for {name} external destinations"),
                f"-j {MARK_MASQ}",
            )
            nat.rule(chain, f"-j {self.chains.cluster}")
            return
        if self.settings.detect_local:
            nat.rule(
                chain,
                comment(f"pod traffic for {name} external destinations"),
                self.settings.detect_local,
                f"-j {self.chains.cluster}",
            )
        nat.rule(
            chain,
            comment(f"masquerade LOCAL traffic for {name} external destinations"),
            f"-m addrtype --src-type LOCAL -j {MARK_MASQ}",
        )
        nat.rule(
            chain,
            comment(f"route LOCAL traffic for {name} external destinations"),
            f"-m addrtype --src-type LOCAL -j {self.chains.cluster}",
        )
        if self.has_external:
            nat.rule(chain, f"-j {self.chains.local}")

    def _firewall_chain(self) -> None:
        """Let the ranges in, and the node itself through its own load balancer's address."""
        nat, chain = self.writer.nat, self.chains.firewall
        words = comment(f"{self.port.name} loadbalancer IP")
        jump = f"-j {self.chains.external}"
        for prefix in self.port.source_ranges:
            nat.rule(chain, words, f"-s {prefix}", jump)
        if node_in_ranges(self.settings.node_ip, self.port.source_ranges):
            for ip in self.port.load_balancer_ips:
                nat.rule(chain, words, f"-s {ip}", jump)
        text = f"other traffic to {self.port.name} will be dropped by KUBE-PROXY-FIREWALL"
        nat.rule(chain, comment(text))

    def _endpoint_comment(self, endpoint: EndpointInfo) -> str:
        text = f"{self.port.name} -> {endpoint}"
        return comment(text) if self.writer.with_comments else ""

    def _balancing_chain(self, chain: str, endpoints: Sequence[EndpointInfo]) -> None:
        nat, port = self.writer.nat, self.port
        nat.chain(chain)
        if port.affinity_s:
            for endpoint in endpoints:
                name = endpoint_chain(port, endpoint)
                nat.rule(
                    chain,
                    self._endpoint_comment(endpoint),
                    f"-m recent --name {name} --rcheck --seconds {port.affinity_s} --reap",
                    f"-j {name}",
                )
        for left, endpoint in zip(range(len(endpoints), 0, -1), endpoints, strict=True):
            share = f"-m statistic --mode random --probability {1 / left:.10f}"
            nat.rule(
                chain,
                self._endpoint_comment(endpoint),
                share * (left > 1),
                f"-j {endpoint_chain(port, endpoint)}",
            )

    def _endpoint_chain(self, endpoint: EndpointInfo) -> None:
        """Masquerade a pod that meets itself, then translate."""
        nat, port, chain = self.writer.nat, self.port, endpoint_chain(self.port, endpoint)
        words = comment(port.name) if self.writer.with_comments else ""
        nat.rule(chain, words, f"-s {endpoint.ip}", f"-j {MARK_MASQ}")
        nat.rule(
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
