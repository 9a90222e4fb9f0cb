"""What the API server would refuse in an object, as far as packets hang on it.

Source: pkg/apis/core/validation/validation.go, pkg/apis/discovery/validation (Kubernetes 1.30).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from netemu.kube.objects import (
    EndpointSlice,
    Ingress,
    KubeObject,
    KubeProxyConfiguration,
    Node,
    Pod,
    Service,
    ServicePort,
)
from netemu.kube.service_ports import IPV4, IPV6, is_family
from netemu.wire.address import parse_address, parse_prefix

PROTOCOLS = ("TCP", "UDP", "SCTP")
LARGEST_PORT = 65535
SERVICE_TYPES = ("ClusterIP", "NodePort", "LoadBalancer", "ExternalName")
POLICIES = ("Cluster", "Local")
LONGEST_AFFINITY_S = 86400
PATH_TYPES = ("Exact", "Prefix", "ImplementationSpecific")
LARGEST_BIT = 31
DETECT_LOCAL_MODES = ("", "ClusterCIDR", "NodeCIDR", "BridgeInterface", "InterfaceNamePrefix")
SCHEDULERS = ("", "rr", "wrr", "lc", "wlc", "lblc", "lblcr", "sh", "dh", "sed", "nq", "mh")
PROXY_MODES = ("", "iptables", "ipvs", "userspace", "nftables")

Fault = tuple[str, str]
"""Field, such as `spec.ports[0].port`, and what is wrong with it."""


def faults(item: KubeObject) -> Iterator[Fault]:
    """Yield what is wrong with an object."""
    if not item.metadata.name and not isinstance(item, KubeProxyConfiguration):
        yield "metadata.name", "a name is needed"
    if isinstance(item, Service):
        yield from _service(item)
    elif isinstance(item, EndpointSlice):
        yield from _slice(item)
    elif isinstance(item, Pod):
        for number, ip in enumerate(item.status.pod_ips or ()):
            yield from _address(f"status.podIPs[{number}].ip", ip.ip)
        if item.status.pod_ip:
            yield from _address("status.podIP", item.status.pod_ip)
    elif isinstance(item, Node):
        yield from _node(item)
    elif isinstance(item, KubeProxyConfiguration):
        yield from _config(item)
    elif isinstance(item, Ingress):
        yield from _ingress(item)


def _service(service: Service) -> Iterator[Fault]:
    spec = service.spec
    yield from _choice("spec.type", spec.type, SERVICE_TYPES)
    yield from _choice("spec.sessionAffinity", spec.session_affinity, ("None", "ClientIP"))
    for name, policy in (
        ("externalTrafficPolicy", spec.external_traffic_policy),
        ("internalTrafficPolicy", spec.internal_traffic_policy),
    ):
        if policy:
            yield from _choice(f"spec.{name}", policy, POLICIES)
    if spec.cluster_ip not in {"", "None"}:
        yield from _address("spec.clusterIP", spec.cluster_ip)
    for number, ip in enumerate(spec.cluster_ips or ()):
        if ip != "None":
            yield from _address(f"spec.clusterIPs[{number}]", ip)
    for number, ip in enumerate(spec.external_ips or ()):
        yield from _address(f"spec.externalIPs[{number}]", ip)
    for number, text in enumerate(spec.load_balancer_source_ranges or ()):
        yield from _prefix(f"spec.loadBalancerSourceRanges[{number}]", text.strip())
    for number, item in enumerate(service.status.load_balancer.ingress or ()):
        if item.ip:
            yield from _address(f"status.loadBalancer.ingress[{number}].ip", item.ip)
    if spec.health_check_node_port:
        yield from _port("spec.healthCheckNodePort", spec.health_check_node_port)
    for number, family in enumerate(spec.ip_families or ()):
        yield from _choice(f"spec.ipFamilies[{number}]", family, ("IPv4", "IPv6"))
    if spec.type == "ExternalName" and not spec.external_name:
        yield "spec.externalName", "a name is needed, such as db.example.org"
    config = spec.session_affinity_config
    timeout_s = config.client_ip.timeout_seconds if config and config.client_ip else None
    if timeout_s is not None and not 0 < timeout_s <= LONGEST_AFFINITY_S:
        yield (
            "spec.sessionAffinityConfig.clientIP.timeoutSeconds",
            f"{timeout_s} is out of range; write 1 to {LONGEST_AFFINITY_S}",
        )
    yield from _service_ports(spec.ports or ())


def _service_ports(ports: Iterable[ServicePort]) -> Iterator[Fault]:
    seen: set[str] = set()
    for number, port in enumerate(ports):
        where = f"spec.ports[{number}]"
        if port.port:  # without one kube-proxy makes rules all the same, so that is a note
            yield from _port(f"{where}.port", port.port)
        yield from _choice(f"{where}.protocol", port.protocol, PROTOCOLS)
        if port.node_port:
            yield from _port(f"{where}.nodePort", port.node_port)
        if isinstance(port.target_port, int) and port.target_port:
            yield from _port(f"{where}.targetPort", port.target_port)
        if port.name in seen:
            yield f"{where}.name", f"{port.name!r} is the name of an earlier port, too"
        seen.add(port.name)


def _slice(item: EndpointSlice) -> Iterator[Fault]:
    yield from _choice("addressType", item.address_type, ("IPv4", "IPv6", "FQDN"))
    octets = {"IPv4": IPV4, "IPv6": IPV6}.get(item.address_type, 0)
    for number, port in enumerate(item.ports or ()):
        if port.port is not None:
            yield from _port(f"ports[{number}].port", port.port)
        yield from _choice(f"ports[{number}].protocol", port.protocol, PROTOCOLS)
    for number, endpoint in enumerate(item.endpoints or ()):
        where = f"endpoints[{number}].addresses"
        if not endpoint.addresses:
            yield where, "an address is needed"
        for place, ip in enumerate(endpoint.addresses):
            if octets and not is_family(ip, octets):
                yield f"{where}[{place}]", f"{ip!r} is no {item.address_type} address"


def _node(node: Node) -> Iterator[Fault]:
    for number, item in enumerate(node.status.addresses or ()):
        if item.type in {"InternalIP", "ExternalIP"}:
            yield from _address(f"status.addresses[{number}].address", item.address)
    if node.spec.pod_cidr:
        yield from _prefix("spec.podCIDR", node.spec.pod_cidr)
    for number, text in enumerate(node.spec.pod_cidrs or ()):
        yield from _prefix(f"spec.podCIDRs[{number}]", text)


def _ingress(ingress: Ingress) -> Iterator[Fault]:
    backends = [("spec.defaultBackend", ingress.spec.default_backend)]
    for number, rule in enumerate(ingress.spec.rules or ()):
        for place, item in enumerate(rule.http.paths if rule.http is not None else ()):
            where = f"spec.rules[{number}].http.paths[{place}]"
            yield from _choice(f"{where}.pathType", item.path_type, PATH_TYPES)
            if not item.path.startswith("/"):
                yield f"{where}.path", f"{item.path!r} is no path; write /{item.path}"
            backends.append((f"{where}.backend", item.backend))
    for where, backend in backends:
        service = backend.service if backend is not None else None
        if service is not None and not service.port.name:
            yield from _port(f"{where}.service.port.number", service.port.number)


def _config(config: KubeProxyConfiguration) -> Iterator[Fault]:
    yield from _choice("mode", config.mode, PROXY_MODES)
    yield from _choice("ipvs.scheduler", config.ipvs.scheduler, SCHEDULERS)
    yield from _choice("detectLocalMode", config.detect_local_mode, DETECT_LOCAL_MODES)
    bit = config.iptables.masquerade_bit
    if bit is not None and not 0 <= bit <= LARGEST_BIT:
        yield "iptables.masqueradeBit", f"{bit} is out of range; write 0 to {LARGEST_BIT}"
    for text in filter(None, (part.strip() for part in config.cluster_cidr.split(","))):
        yield from _prefix("clusterCIDR", text)
    for number, text in enumerate(config.node_port_addresses or ()):
        if text != "primary":
            yield from _prefix(f"nodePortAddresses[{number}]", text)
    for number, ip in enumerate(config.x_local_ips or ()):
        yield from _address(f"x-local-ips[{number}]", ip)
    if config.x_node_ip:
        yield from _address("x-node-ip", config.x_node_ip)


def _choice(field: str, value: str, choices: tuple[str, ...]) -> Iterator[Fault]:
    if value not in choices:
        yield field, f"{value!r} is not known; write {' or '.join(filter(None, choices))}"


def _port(field: str, port: int) -> Iterator[Fault]:
    if not 0 < port <= LARGEST_PORT:
        yield field, f"{port} is no port; write 1 to {LARGEST_PORT}"


def _address(field: str, text: str) -> Iterator[Fault]:
    try:
        parse_address(text)
    except ValueError:
        yield field, f"{text!r} is no address; write 10.96.0.10, for one"


def _prefix(field: str, text: str) -> Iterator[Fault]:
    try:
        parse_prefix(text)
    except ValueError:
        yield field, f"{text!r} is no prefix; write 10.244.0.0/16, for one"
    else:
        if "/" not in text:
            yield field, f"{text!r} is an address, not a prefix; write {text}/24, for one"
