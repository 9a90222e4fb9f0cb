"""kube-proxy's iptables mode while KUBE-XLB chains stood for `externalTrafficPolicy: Local`.

Source: pkg/proxy/iptables/proxier.go, syncProxyRules (Kubernetes 1.20).

What differs to later releases: the mark for masquerading is set before the jump to the Service's
chain; addresses of load balancers always lead through a KUBE-FW chain; what is to be dropped gets
a mark, by a chain of kubelet's; health check ports are let in by nobody. Endpoints that are not
ready do not exist here, and internalTrafficPolicy is not known yet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from netemu.kube.proxy.iptables import (
    MARK_MASQ,
    PortChains,
    endpoint_chain,
    in_order,
    invalid_rule,
    is_large,
    last_rules,
    mark_rule,
    masquerade_rules,
    node_in_ranges,
)
from netemu.kube.proxy.names import port_proto_hash
from netemu.kube.proxy.settings import ProxySettings
from netemu.kube.proxy.text import TableText, comment, restore_text
from netemu.kube.service_ports import EndpointInfo, PortKey, ServicePortInfo, port_key

MARK_DROP = "KUBE-MARK-DROP"


def local_chain(port: ServicePortInfo) -> str:
    """Return the name of the chain of traffic that is to stay on the node."""
    return f"KUBE-XLB-{port_proto_hash(port.name, port.protocol)}"


def render_iptables_xlb(
    settings: ProxySettings,
    ports: Sequence[ServicePortInfo],
    endpoints: Mapping[PortKey, list[EndpointInfo]],
) -> str:
    """Return the restore text of a full sync, in canonical order."""
    filter_, nat = TableText("filter"), TableText("nat")
    for name in ("KUBE-SERVICES", "KUBE-EXTERNAL-SERVICES", "KUBE-FORWARD"):
        filter_.chain(name)
    for name in ("KUBE-SERVICES", "KUBE-NODEPORTS", "KUBE-POSTROUTING", MARK_MASQ):
        nat.chain(name)
    masquerade_rules(nat, settings)
    ready = {key: [item for item in items if item.ready] for key, items in endpoints.items()}
    with_comments = not is_large(ports, ready)
    for port in in_order(ports):
        writer = _PortWriter(settings, filter_, nat, port, ready.get(port_key(port), []))
        writer.with_comments = with_comments
        writer.write()
    last_rules(nat, settings)
    _forward_rules(filter_, settings)
    return restore_text(filter_, nat)


def _forward_rules(table: TableText, settings: ProxySettings) -> None:
    """Let marked connections through FORWARD, and known ones from and to pods."""
    invalid_rule(table, settings)
    mark_rule(table, settings)
    if settings.local_range:
        for what, option in (("source", "-s"), ("destination", "-d")):
            words = comment(f"kubernetes forwarding conntrack pod {what} rule")
            pods = f"{option} {settings.local_range}"
            state = "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"
            ordered = (pods, words) if what == "source" else (words, pods)
            table.rule("KUBE-FORWARD", *ordered, state)


class _PortWriter:
    """Writes the rules of one Service port."""

    def __init__(
        self,
        settings: ProxySettings,
        filter_: TableText,
        nat: TableText,
        port: ServicePortInfo,
        endpoints: Sequence[EndpointInfo],
    ) -> None:
        self.settings = settings
        self.filter = filter_
        self.nat = nat
        self.port = port
        self.endpoints = endpoints
        self.with_comments = True
        self.service = PortChains.of(port).cluster
        self.firewall = PortChains.of(port).firewall
        self.local = local_chain(port)
        self.outside = self.local if port.external_policy_local else self.service
        """The chain that takes what comes from outside."""

    def write(self) -> None:
        """Write them in kube-proxy's order."""
        if self.endpoints:
            self.nat.chain(self.service)
        if self.port.external_policy_local:
            self.nat.chain(self.local)
        self._cluster_ip()
        for ip in self.port.external_ips:
            self._external_ip(ip)
        for ip in self.port.load_balancer_ips:
            self._load_balancer_ip(ip)
        if self.port.node_port:
            self._node_port()
        if not self.endpoints:
            return
        texts = [self._comment()] * len(self.endpoints)
        self._balance(self.service, self.endpoints, self._comment(), texts)
        for endpoint in self.endpoints:
            self._endpoint(endpoint)
        if self.port.external_policy_local:
            self._local_chain()

    def _protocol(self, ip: str, port: int) -> str:
        words = f"-m {self.port.protocol} -p {self.port.protocol}"
        return f"{words} -d {self._host(ip)} --dport {port}" if ip else f"{words} --dport {port}"

    def _host(self, ip: str) -> str:
        return f"{ip}/{self.settings.octets * 8}"

    def _comment(self) -> str:
        return comment(self.port.name) if self.with_comments else ""

    def _refuse(self, chain: str, *words: str) -> None:
        self.filter.rule(chain, comment(f"{self.port.name} has no endpoints"), *words, "-j REJECT")

    def _cluster_ip(self) -> None:
        match = self._protocol(self.port.cluster_ip, self.port.port)
        if not self.endpoints:
            self._refuse("KUBE-SERVICES", match)
            return
        words = (comment(f"{self.port.name} cluster IP"), match)
        settings = self.settings
        if settings.masquerade_all:
            self.nat.rule("KUBE-SERVICES", *words, f"-j {MARK_MASQ}")
        elif settings.detect_not_local:
            self.nat.rule("KUBE-SERVICES", *words, settings.detect_not_local, f"-j {MARK_MASQ}")
        self.nat.rule("KUBE-SERVICES", *words, f"-j {self.service}")

    def _external_ip(self, ip: str) -> None:
        """Take what comes from off the machine, or where the address is the node's own."""
        match = self._protocol(ip, self.port.port)
        if not self.endpoints:
            self._refuse("KUBE-EXTERNAL-SERVICES", match)
            return
        words = (comment(f"{self.port.name} external IP"), match)
        if not self.port.external_policy_local:
            self.nat.rule("KUBE-SERVICES", *words, f"-j {MARK_MASQ}")
        off_machine = "-m physdev ! --physdev-is-in -m addrtype ! --src-type LOCAL"
        for condition in (off_machine, "-m addrtype --dst-type LOCAL"):
            self.nat.rule("KUBE-SERVICES", *words, condition, f"-j {self.outside}")

    def _load_balancer_ip(self, ip: str) -> None:
        match = self._protocol(ip, self.port.port)
        if not self.endpoints:
            self._refuse("KUBE-EXTERNAL-SERVICES", match)
            return
        words = comment(f"{self.port.name} loadbalancer IP")
        jump = f"-j {self.outside}"
        self.nat.rule("KUBE-SERVICES", words, match, f"-j {self.firewall}")
        if not self.port.external_policy_local:
            self.nat.rule(self.firewall, words, f"-j {MARK_MASQ}")
        ranges = self.port.source_ranges
        if not ranges:
            self.nat.rule(self.firewall, words, jump)
        for prefix in ranges:
            self.nat.rule(self.firewall, words, f"-s {prefix}", jump)
        if node_in_ranges(self.settings.node_ip, ranges):
            self.nat.rule(self.firewall, words, f"-s {self._host(ip)}", jump)
        self.nat.rule(self.firewall, words, f"-j {MARK_DROP}")

    def _node_port(self) -> None:
        match = self._protocol("", self.port.node_port)
        if not self.endpoints:
            self._refuse("KUBE-EXTERNAL-SERVICES", "-m addrtype --dst-type LOCAL", match)
            return
        words = (comment(self.port.name), match)
        source = f"-s {self.settings.loopback}" if self.port.external_policy_local else ""
        self.nat.rule("KUBE-NODEPORTS", *words, source, f"-j {MARK_MASQ}")
        self.nat.rule("KUBE-NODEPORTS", *words, f"-j {self.outside}")

    def _balance(
        self, chain: str, endpoints: Sequence[EndpointInfo], affine: str, texts: Sequence[str]
    ) -> None:
        """Choose among endpoints; `affine` and `texts` are comments of the two kinds of rule."""
        nat, port = self.nat, self.port
        if port.affinity_s:
            for endpoint in endpoints:
                name = endpoint_chain(port, endpoint)
                recent = f"-m recent --name {name} --rcheck --seconds {port.affinity_s} --reap"
                nat.rule(chain, affine, recent, f"-j {name}")
        left = len(endpoints)
        for endpoint, text in zip(endpoints, texts, strict=True):
            share = f"-m statistic --mode random --probability {1 / left:.10f}" * (left > 1)
            nat.rule(chain, text, share, f"-j {endpoint_chain(port, endpoint)}")
            left -= 1

    def _endpoint(self, endpoint: EndpointInfo) -> None:
        port, chain = self.port, endpoint_chain(self.port, endpoint)
        self.nat.rule(chain, self._comment(), f"-s {self._host(endpoint.ip)}", f"-j {MARK_MASQ}")
        self.nat.rule(
            chain,
            self._comment(),
            f"-m recent --name {chain} --set" * bool(port.affinity_s),
            f"-m {port.protocol} -p {port.protocol} -j DNAT --to-destination {endpoint}",
        )

    def _local_chain(self) -> None:
        """Send pods and the node itself anywhere, others to this node's endpoints alone."""
        nat, name, chain = self.nat, self.port.name, self.local
        to_service = f"-j {self.service}"
        if self.settings.detect_local:
            text = "Redirect pods trying to reach external loadbalancer VIP to clusterIP"
            nat.rule(chain, comment(text), self.settings.detect_local, to_service)
        own = "-m addrtype --src-type LOCAL"
        nat.rule(
            chain, comment(f"masquerade LOCAL traffic for {name} LB IP"), own, f"-j {MARK_MASQ}"
        )
        text = f"route LOCAL traffic for {name} LB IP to service chain"
        nat.rule(chain, comment(text), own, to_service)
        local = [item for item in self.endpoints if item.local]
        if not local:
            nat.rule(chain, comment(f"{name} has no local endpoints"), f"-j {MARK_DROP}")
            return
        texts = [comment(f"Balancing rule {number} for {name}") for number in range(len(local))]
        self._balance(chain, local, comment(name), texts)
