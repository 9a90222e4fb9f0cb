"""Services and EndpointSlices as kube-proxy sees them: one entry per Service port and family.

Source: pkg/proxy/serviceport.go, endpointslicecache.go, endpoint.go (Kubernetes 1.30).
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from netemu.kube.objects import Endpoint, EndpointSlice, Labels, Service
from netemu.kube.proxy.version import DEFAULT, ProxyVersion
from netemu.wire.address import (
    format_address,
    is_dotted_quad,
    network_of,
    parse_address,
    parse_prefix,
)

SERVICE_NAME_LABEL = "kubernetes.io/service-name"
HOSTNAME_LABEL = "kubernetes.io/hostname"
DEFAULT_AFFINITY_S = 10800
"""DefaultClientIPServiceAffinitySeconds: three hours."""
HINT_ANNOTATIONS = (
    "service.kubernetes.io/topology-aware-hints",
    "service.kubernetes.io/topology-mode",
)
IPV4, IPV6 = 4, 16
"""Octets of an address stand for its family."""


def is_family(address: str, octets: int) -> bool:
    """Return whether a text is an address of the family.

    >>> is_family("10.0.0.1", 4), is_family("2001:db8::1", 4), is_family("None", 4)
    (True, False, False)
    """
    if is_dotted_quad(address):
        return octets == IPV4
    try:
        return len(parse_address(address)) == octets
    except ValueError:
        return False


def of_family(addresses: Iterable[str], octets: int) -> list[str]:
    """Return the addresses of a family, as Go prints them.

    >>> of_family(["10.0.0.1", "2001:DB8::0:1", "None"], 16)
    ['2001:db8::1']
    """
    return [format_address(parse_address(ip)) for ip in addresses if is_family(ip, octets)]


def network_text(prefix: str) -> str:
    """Return a prefix as Go prints a net.IPNet.

    >>> network_text("203.0.113.200/25")
    '203.0.113.128/25'
    """
    address, length = parse_prefix(prefix)
    return f"{format_address(network_of(address, length))}/{length}"


def is_prefix_family(prefix: str, octets: int) -> bool:
    """Return whether a text is a prefix of the family."""
    try:
        return len(parse_prefix(prefix)[0]) == octets
    except ValueError:
        return False


class ServicePortInfo(Struct, frozen=True, kw_only=True):
    """One port of one Service in one family."""

    namespace: str
    service: str
    port_name: str
    protocol: str
    """tcp, udp or sctp."""
    cluster_ip: str
    port: int
    target_port: int | str
    node_port: int
    external_ips: tuple[str, ...]
    load_balancer_ips: tuple[str, ...]
    source_ranges: tuple[str, ...]
    health_check_node_port: int
    external_policy_local: bool
    internal_policy_local: bool
    affinity_s: int
    """How long a client stays with its endpoint; 0 when it does not."""
    topology_hints: bool
    """Whether an annotation asks for the endpoints' zone hints."""

    @property
    def name(self) -> str:
        """`namespace/service`, with `:port` if the port has a name (ServicePortName.String)."""
        tail = f":{self.port_name}" if self.port_name else ""
        return f"{self.namespace}/{self.service}{tail}"

    @property
    def externally_accessible(self) -> bool:
        """Return whether anything but the ClusterIP leads here."""
        return bool(self.node_port or self.external_ips or self.load_balancer_ips)

    @property
    def uses_cluster_endpoints(self) -> bool:
        """Return whether endpoints anywhere are of use."""
        return not self.internal_policy_local or self.externally_accessible

    @property
    def uses_local_endpoints(self) -> bool:
        """Return whether endpoints of the own node alone are of use."""
        return self.internal_policy_local or (
            self.external_policy_local and self.externally_accessible
        )


class EndpointInfo(Struct, frozen=True, kw_only=True):
    """One endpoint of a Service port."""

    ip: str
    port: int
    local: bool
    """Whether it is on the proxy's own node."""
    ready: bool = True
    serving: bool = True
    terminating: bool = False
    zones: tuple[str, ...] | None = None
    """Zones that are to use it, None without hints."""
    node_name: str = ""
    target: str = ""
    """`namespace/name` of its pod, where the slice tells."""

    def __str__(self) -> str:
        """`IP:port`; an IPv6 address stands in brackets (net.JoinHostPort)."""
        return f"[{self.ip}]:{self.port}" if ":" in self.ip else f"{self.ip}:{self.port}"


def is_proxied(service: Service) -> bool:
    """Return whether kube-proxy makes rules for a Service (ShouldSkipService)."""
    return service.spec.type != "ExternalName" and service.spec.cluster_ip not in {"", "None"}


def service_ports(
    service: Service, octets: int, version: ProxyVersion = DEFAULT
) -> list[ServicePortInfo]:
    """Return a Service's ports of one family, none for one without a ClusterIP of it."""
    spec = service.spec
    cluster_ips = of_family(spec.cluster_ips or [spec.cluster_ip], octets)
    if not is_proxied(service) or not cluster_ips:
        return []
    external_ips = tuple(of_family(spec.external_ips or (), octets))
    outside = spec.type in {"NodePort", "LoadBalancer"} or bool(spec.external_ips)
    local = outside and spec.external_traffic_policy == "Local"
    ingress = service.status.load_balancer.ingress or ()
    load_balancer_ips = of_family(
        (item.ip for item in ingress if not (version.heeds_ip_mode and item.ip_mode == "Proxy")),
        octets,
    )
    return [
        ServicePortInfo(
            namespace=service.metadata.namespace or "default",
            service=service.metadata.name,
            port_name=port.name,
            protocol=port.protocol.lower(),
            cluster_ip=cluster_ips[0],
            port=port.port,
            target_port=port.target_port or port.port,
            node_port=port.node_port,
            external_ips=external_ips,
            load_balancer_ips=tuple(load_balancer_ips),
            source_ranges=tuple(
                network_text(text) if version.masks_ranges else text
                for text in (item.strip() for item in spec.load_balancer_source_ranges or ())
                if is_prefix_family(text, octets)
            ),
            health_check_node_port=(
                spec.health_check_node_port if spec.type == "LoadBalancer" and local else 0
            ),
            external_policy_local=local,
            internal_policy_local=spec.internal_traffic_policy == "Local",
            affinity_s=affinity_seconds(service),
            topology_hints=wants_hints(service.metadata.annotations or {}, version),
        )
        for port in spec.ports or ()
    ]


def family_of(services: Iterable[Service]) -> int:
    """Return the family that Services are of, as octets: IPv4 unless all have only IPv6."""
    given = [service.spec.cluster_ips or [service.spec.cluster_ip] for service in services]
    ips = [ip for item in given for ip in item if ip not in {"", "None"}]
    return IPV6 if ips and all(is_family(ip, IPV6) for ip in ips) else IPV4


def without_address(services: Iterable[Service]) -> list[str]:
    """Return a sentence for each Service that kube-proxy passes over for want of a ClusterIP."""
    return [
        f"Service {service.key} has no clusterIP yet, so kube-proxy makes no rules for it"
        for service in services
        if service.spec.type != "ExternalName" and not service.spec.cluster_ip
    ]


def wants_hints(annotations: Labels, version: ProxyVersion) -> bool:
    """Return whether annotations ask for zone hints: until 1.26 by one word, then by most any."""
    if not version.takes_any_hint:
        return annotations.get(HINT_ANNOTATIONS[0], "") in {"Auto", "auto"}
    hints = next((annotations[key] for key in HINT_ANNOTATIONS if key in annotations), "")
    return hints not in {"", "disabled", "Disabled"}


def affinity_seconds(service: Service) -> int:
    """Return how long a client stays with its endpoint, 0 when it does not."""
    if service.spec.session_affinity != "ClientIP":
        return 0
    config = service.spec.session_affinity_config
    given = config.client_ip.timeout_seconds if config and config.client_ip else None
    return DEFAULT_AFFINITY_S if given is None else given


PortKey = tuple[str, str, str]
"""`namespace/service`, name of the port, protocol in lower case."""


def port_key(info: ServicePortInfo) -> PortKey:
    """Return what a Service port's endpoints are found by."""
    return (f"{info.namespace}/{info.service}", info.port_name, info.protocol)


def owner_of(item: EndpointSlice) -> str:
    """Return `namespace/service` of the Service that a slice belongs to; empty for none."""
    name = (item.metadata.labels or {}).get(SERVICE_NAME_LABEL, "")
    return f"{item.metadata.namespace or 'default'}/{name}" if name else ""


def endpoints_map(
    slices: Iterable[EndpointSlice], octets: int, node_name: str
) -> dict[PortKey, list[EndpointInfo]]:
    """Return the endpoints of every Service port, sorted by `IP:port`.

    Of the same endpoint given twice the local one counts; of two local ones the later.
    """
    address_type = "IPv4" if octets == IPV4 else "IPv6"
    found: dict[PortKey, dict[str, EndpointInfo]] = {}
    for slice_ in slices:
        owner = owner_of(slice_)
        if not owner or slice_.address_type != address_type:
            continue
        for port in slice_.ports or ():
            if not port.port:
                continue
            key = (owner, port.name or "", port.protocol.lower())
            endpoints = found.setdefault(key, {})
            for endpoint in slice_.endpoints or ():
                if not endpoint.addresses or not is_family(endpoint.addresses[0], octets):
                    continue
                info = endpoint_info(endpoint, port.port, node_name)
                if info.local or str(info) not in endpoints:
                    endpoints[str(info)] = info
    return {
        key: [endpoints[name] for name in sorted(endpoints)] for key, endpoints in found.items()
    }


def endpoint_info(endpoint: Endpoint, port: int, node_name: str) -> EndpointInfo:
    """Return one endpoint as the proxy of `node_name` sees it."""
    conditions = endpoint.conditions
    target = endpoint.target_ref
    own = endpoint.node_name or (endpoint.topology or {}).get(HOSTNAME_LABEL, "")
    is_pod = target is not None and target.kind == "Pod"
    return EndpointInfo(
        ip=format_address(parse_address(endpoint.addresses[0])),
        port=port,
        local=bool(node_name) and own == node_name,
        ready=conditions.ready is not False,
        serving=conditions.serving is not False,
        terminating=conditions.terminating is True,
        zones=(
            tuple(zone.name for zone in endpoint.hints.for_zones)
            if endpoint.hints is not None and endpoint.hints.for_zones
            else None
        ),
        node_name=own,
        target=f"{target.namespace}/{target.name}" if target is not None and is_pod else "",
    )
