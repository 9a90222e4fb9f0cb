"""A cloud's load balancer as a model: which nodes it sends a LoadBalancer Service's clients to.

Source: staging/src/k8s.io/cloud-provider/controllers/service/controller.go,
pkg/proxy/healthcheck/service_health.go (Kubernetes 1.30).

Theory of operation: the service controller gives the balancer every node that may be one of its
targets. The balancer asks each for its health: at the Service's healthCheckNodePort, where
kube-proxy answers 200 while the node has a ready endpoint of its own (externalTrafficPolicy Local),
else at kube-proxy's own health port, which every node answers. An address of `ipMode: VIP`, the
default, reaches the node as it is; one of `ipMode: Proxy` ends at the balancer, which opens a
connection of its own to the node's address at the node port.
"""

from __future__ import annotations

from msgspec import Struct

from netemu.kube.cluster import Cluster
from netemu.kube.objects import Node, Service, ServicePort
from netemu.kube.service_ports import (
    EndpointInfo,
    endpoints_map,
    is_family,
    is_proxied,
)

EXCLUDED_LABEL = "node.kubernetes.io/exclude-from-external-load-balancers"


class BackendNode(Struct, frozen=True, kw_only=True):
    """A node as the load balancer sees it."""

    name: str
    ip: str
    healthy: bool
    why: str


class CloudBalancer(Struct, frozen=True, kw_only=True):
    """The load balancer of one port of one Service."""

    service: str
    """`namespace/name`."""
    address: str
    port: int
    protocol: str
    node_port: int
    by_proxy: bool
    """Whether it ends connections and opens its own to node ports (`ipMode: Proxy`)."""
    nodes: tuple[BackendNode, ...]

    @property
    def healthy(self) -> list[BackendNode]:
        """The nodes that get packets."""
        return [node for node in self.nodes if node.healthy]


def cloud_balancers(cluster: Cluster, octets: int) -> list[CloudBalancer]:
    """Return the load balancers of all Services, one for each address and port."""
    return [
        CloudBalancer(
            service=f"{service.metadata.namespace or 'default'}/{service.metadata.name}",
            address=item.ip,
            port=port.port,
            protocol=port.protocol.lower(),
            node_port=port.node_port,
            by_proxy=item.ip_mode == "Proxy",
            nodes=backend_nodes(cluster, service, port, octets),
        )
        for service in cluster.services
        if service.spec.type == "LoadBalancer" and is_proxied(service)
        for item in service.status.load_balancer.ingress or ()
        if is_family(item.ip, octets)
        for port in service.spec.ports or ()
    ]


def balancer_at(
    cluster: Cluster, address: str, port: int, protocol: str, octets: int
) -> CloudBalancer | None:
    """Return the load balancer that has an address, a port and a protocol."""
    wanted = (address, port, protocol)
    return next(
        (
            item
            for item in cloud_balancers(cluster, octets)
            if (item.address, item.port, item.protocol) == wanted
        ),
        None,
    )


def backend_nodes(
    cluster: Cluster, service: Service, port: ServicePort, octets: int
) -> tuple[BackendNode, ...]:
    """Return all nodes with their health for one port of a Service."""
    found = []
    for node in cluster.nodes:
        healthy, why = _health(cluster, service, port, node, octets)
        ip = node_ip(node, octets)
        if not ip:
            healthy, why = False, "no address of this family"
        found.append(BackendNode(name=node.metadata.name, ip=ip, healthy=healthy, why=why))
    return tuple(found)


def node_ip(node: Node, octets: int) -> str:
    """Return the internal address of a node; empty when it has none of this family."""
    addresses = node.status.addresses or ()
    internal = (item.address for item in addresses if item.type == "InternalIP")
    return next((ip for ip in internal if is_family(ip, octets)), "")


def _health(
    cluster: Cluster, service: Service, port: ServicePort, node: Node, octets: int
) -> tuple[bool, str]:
    if EXCLUDED_LABEL in (node.metadata.labels or {}):
        return False, f"label {EXCLUDED_LABEL}"
    if node.metadata.deletion_timestamp is not None:
        return False, "the node is being deleted"
    ready = [item.status for item in node.status.conditions or () if item.type == "Ready"]
    if ready and ready[0] != "True":
        return False, "the node is not ready, its kube-proxy does not answer"
    if service.spec.external_traffic_policy != "Local":
        return True, "kube-proxy answers"
    here = local_ready(cluster, service, port, node.metadata.name, octets)
    check = service.spec.health_check_node_port
    where = f"health check port {check} answers" if check else "a health check would answer"
    if not here:
        return False, f"{where} 503: no ready endpoint is on the node"
    return True, f"{where} 200: {len(here)} ready endpoint{'s' * (len(here) > 1)}"


def local_ready(
    cluster: Cluster, service: Service, port: ServicePort, node_name: str, octets: int
) -> list[EndpointInfo]:
    """Return the ready endpoints of a Service port that a node has itself."""
    key = (
        f"{service.metadata.namespace or 'default'}/{service.metadata.name}",
        port.name,
        port.protocol.lower(),
    )
    endpoints = endpoints_map(cluster.slices, octets, node_name).get(key, [])
    return [item for item in endpoints if item.local and item.ready]
