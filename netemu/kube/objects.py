"""The Kubernetes objects that a Service's packets depend on, as typed values.

Source: the published API types (core/v1, discovery/v1, apps/v1, networking/v1 and
kubeproxy.config.k8s.io/v1alpha1). Fields are Kubernetes' own, in snake case; what does not bear on
packets is left out, and unknown fields are passed over, as every client of that API does.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

PortNumber: TypeAlias = int
Labels: TypeAlias = dict[str, str]


class ApiStruct(msgspec.Struct, rename="camel", kw_only=True, omit_defaults=True):
    """A part of an object; names on the outside are camel case."""


class OwnerReference(ApiStruct):
    """The object that made this one."""

    kind: str = ""
    name: str = ""
    uid: str = ""


class ObjectMeta(ApiStruct):
    """What every object has."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    labels: Labels | None = None
    annotations: Labels | None = None
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    owner_references: list[OwnerReference] | None = None


class KubeObject(ApiStruct):
    """An object of some kind."""

    api_version: str = ""
    kind: str = ""
    metadata: ObjectMeta = msgspec.field(default_factory=ObjectMeta)

    @property
    def key(self) -> str:
        """Return `namespace/name`, or the name alone of what has no namespace."""
        space = self.metadata.namespace
        return f"{space}/{self.metadata.name}" if space else self.metadata.name


class Condition(ApiStruct):
    """A condition that an object reports."""

    type: str
    status: str


# --- Node -----------------------------------------------------------------------------------------


class NodeAddress(ApiStruct):
    """One address of a node."""

    type: str
    address: str


class NodeSpec(ApiStruct):
    """What a node was given."""

    pod_cidr: str = msgspec.field(default="", name="podCIDR")
    pod_cidrs: list[str] | None = msgspec.field(default=None, name="podCIDRs")
    unschedulable: bool = False


class NodeStatus(ApiStruct):
    """What a node says of itself."""

    addresses: list[NodeAddress] | None = None
    conditions: list[Condition] | None = None


class Node(KubeObject):
    """A machine of the cluster."""

    spec: NodeSpec = msgspec.field(default_factory=NodeSpec)
    status: NodeStatus = msgspec.field(default_factory=NodeStatus)


# --- Pod ------------------------------------------------------------------------------------------


class ContainerPort(ApiStruct):
    """A port that a container names; it listens with or without this."""

    container_port: PortNumber
    name: str = ""
    protocol: str = "TCP"
    host_port: PortNumber = 0


class Container(ApiStruct):
    """One container of a pod."""

    name: str = ""
    ports: list[ContainerPort] | None = None
    restart_policy: str = ""
    """`Always` for an init container that runs on beside the others."""


class PodSpec(ApiStruct):
    """What a pod is to be."""

    node_name: str = ""
    host_network: bool = False
    hostname: str = ""
    subdomain: str = ""
    containers: list[Container] | None = None
    init_containers: list[Container] | None = None
    termination_grace_period_seconds: int = 30


class PodIP(ApiStruct):
    """One address of a pod."""

    ip: str


class PodStatus(ApiStruct):
    """What a pod is."""

    phase: str = ""
    pod_ip: str = msgspec.field(default="", name="podIP")
    pod_ips: list[PodIP] | None = msgspec.field(default=None, name="podIPs")
    host_ip: str = msgspec.field(default="", name="hostIP")
    conditions: list[Condition] | None = None


class Pod(KubeObject):
    """A pod: containers that share a network namespace and its addresses."""

    spec: PodSpec = msgspec.field(default_factory=PodSpec)
    status: PodStatus = msgspec.field(default_factory=PodStatus)

    @property
    def ips(self) -> list[str]:
        """Return its addresses, the first one first."""
        found = [item.ip for item in self.status.pod_ips or ()]
        return found or [self.status.pod_ip] * bool(self.status.pod_ip)

    @property
    def ready(self) -> bool:
        """Return whether its Ready condition is true."""
        return any(
            item.type == "Ready" and item.status == "True" for item in self.status.conditions or ()
        )


class PodTemplate(ApiStruct):
    """What a controller makes its pods of."""

    metadata: ObjectMeta = msgspec.field(default_factory=ObjectMeta)
    spec: PodSpec = msgspec.field(default_factory=PodSpec)


class LabelSelector(ApiStruct):
    """Labels that all have to be there."""

    match_labels: Labels | None = None


class ReplicaSetSpec(ApiStruct):
    """How many pods of which template."""

    replicas: int = 1
    selector: LabelSelector = msgspec.field(default_factory=LabelSelector)
    template: PodTemplate = msgspec.field(default_factory=PodTemplate)


class ReplicaSet(KubeObject):
    """Keeps a number of pods of one template."""

    spec: ReplicaSetSpec = msgspec.field(default_factory=ReplicaSetSpec)


class Deployment(KubeObject):
    """Keeps a ReplicaSet of its present template and rolls over to a new one."""

    spec: ReplicaSetSpec = msgspec.field(default_factory=ReplicaSetSpec)


# --- Service --------------------------------------------------------------------------------------


class ServicePort(ApiStruct):
    """One port of a Service."""

    port: PortNumber = 0
    name: str = ""
    protocol: str = "TCP"
    target_port: int | str = 0
    node_port: PortNumber = 0
    app_protocol: str | None = None


class ClientIPConfig(ApiStruct):
    """How long a client stays with its endpoint."""

    timeout_seconds: int | None = None


class AffinityConfig(ApiStruct):
    """How clients stay with their endpoints."""

    client_ip: ClientIPConfig | None = msgspec.field(default=None, name="clientIP")


class ServiceSpec(ApiStruct):
    """What a Service promises."""

    type: str = "ClusterIP"
    cluster_ip: str = msgspec.field(default="", name="clusterIP")
    cluster_ips: list[str] | None = msgspec.field(default=None, name="clusterIPs")
    ports: list[ServicePort] | None = None
    selector: Labels | None = None
    external_ips: list[str] | None = msgspec.field(default=None, name="externalIPs")
    external_name: str = ""
    load_balancer_ip: str = msgspec.field(default="", name="loadBalancerIP")
    load_balancer_source_ranges: list[str] | None = None
    external_traffic_policy: str = ""
    internal_traffic_policy: str | None = None
    traffic_distribution: str | None = None
    health_check_node_port: PortNumber = 0
    publish_not_ready_addresses: bool = False
    session_affinity: str = "None"
    session_affinity_config: AffinityConfig | None = None
    ip_families: list[str] | None = None


class LoadBalancerIngress(ApiStruct):
    """One address of a cloud's load balancer."""

    ip: str = ""
    hostname: str = ""
    ip_mode: str | None = None


class LoadBalancerStatus(ApiStruct):
    """Addresses of a cloud's load balancer."""

    ingress: list[LoadBalancerIngress] | None = None


class ServiceStatus(ApiStruct):
    """What came of a Service's wishes."""

    load_balancer: LoadBalancerStatus = msgspec.field(default_factory=LoadBalancerStatus)


class Service(KubeObject):
    """A name and an address for a set of endpoints."""

    spec: ServiceSpec = msgspec.field(default_factory=ServiceSpec)
    status: ServiceStatus = msgspec.field(default_factory=ServiceStatus)


# --- EndpointSlice, Endpoints ---------------------------------------------------------------------


class EndpointConditions(ApiStruct):
    """What an endpoint can do; None counts as the usual case."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class ForZone(ApiStruct):
    """A zone that is to use an endpoint."""

    name: str


class EndpointHints(ApiStruct):
    """Who is to use an endpoint."""

    for_zones: list[ForZone] | None = None


class ObjectReference(ApiStruct):
    """Another object."""

    kind: str = ""
    namespace: str = ""
    name: str = ""


class Endpoint(ApiStruct):
    """One endpoint; only its first address counts."""

    addresses: list[str]
    conditions: EndpointConditions = msgspec.field(default_factory=EndpointConditions)
    hostname: str | None = None
    node_name: str | None = None
    zone: str | None = None
    hints: EndpointHints | None = None
    target_ref: ObjectReference | None = None
    topology: Labels | None = None
    """Of discovery.k8s.io/v1beta1: labels of its node."""


class EndpointPort(ApiStruct):
    """A port that all endpoints of a slice have."""

    name: str | None = None
    port: PortNumber | None = None
    protocol: str = "TCP"


class EndpointSlice(KubeObject):
    """A part of a Service's endpoints."""

    address_type: str = "IPv4"
    ports: list[EndpointPort] | None = None
    endpoints: list[Endpoint] | None = None


class EndpointAddress(ApiStruct):
    """An address of the older Endpoints object."""

    ip: str
    node_name: str | None = None
    hostname: str = ""
    target_ref: ObjectReference | None = None


class EndpointSubset(ApiStruct):
    """Addresses that share their ports."""

    addresses: list[EndpointAddress] | None = None
    not_ready_addresses: list[EndpointAddress] | None = None
    ports: list[EndpointPort] | None = None


class Endpoints(KubeObject):
    """The older form of EndpointSlices."""

    subsets: list[EndpointSubset] | None = None


# --- Ingress --------------------------------------------------------------------------------------


class ServiceBackendPort(ApiStruct):
    """A Service's port, by name or by number."""

    name: str = ""
    number: PortNumber = 0


class IngressServiceBackend(ApiStruct):
    """A Service that takes requests."""

    name: str
    port: ServiceBackendPort = msgspec.field(default_factory=ServiceBackendPort)


class IngressBackend(ApiStruct):
    """Where requests go."""

    service: IngressServiceBackend | None = None


class HTTPIngressPath(ApiStruct):
    """One path of a host."""

    backend: IngressBackend
    path: str = "/"
    path_type: str = "Prefix"


class HTTPIngressRule(ApiStruct):
    """The paths of a host."""

    paths: list[HTTPIngressPath]


class IngressRule(ApiStruct):
    """One host; an empty one is any."""

    host: str = ""
    http: HTTPIngressRule | None = None


class IngressTLS(ApiStruct):
    """Hosts that have a certificate."""

    hosts: list[str] | None = None


class IngressSpec(ApiStruct):
    """Hosts and paths."""

    ingress_class_name: str | None = None
    default_backend: IngressBackend | None = None
    tls: list[IngressTLS] | None = None
    rules: list[IngressRule] | None = None


class Ingress(KubeObject):
    """Hosts and paths that lead to Services."""

    spec: IngressSpec = msgspec.field(default_factory=IngressSpec)
    status: ServiceStatus = msgspec.field(default_factory=ServiceStatus)


# --- KubeProxyConfiguration -----------------------------------------------------------------------


class ProxyIPTables(ApiStruct):
    """Settings of iptables mode."""

    masquerade_all: bool = False
    masquerade_bit: int | None = None
    localhost_node_ports: bool | None = None


class ProxyIPVS(ApiStruct):
    """Settings of IPVS mode."""

    scheduler: str = ""
    strict_arp: bool = msgspec.field(default=False, name="strictARP")


class ProxyDetectLocal(ApiStruct):
    """Devices that tell a pod's traffic."""

    bridge_interface: str = ""
    interface_name_prefix: str = ""


class ProxyConntrack(ApiStruct):
    """Settings of connection tracking."""

    tcp_be_liberal: bool = msgspec.field(default=False, name="tcpBeLiberal")


class KubeProxyConfiguration(KubeObject):
    """kube-proxy's configuration file; the `x-` keys tell what kube-proxy finds out itself."""

    mode: str = ""
    hostname_override: str = ""
    cluster_cidr: str = msgspec.field(default="", name="clusterCIDR")
    detect_local_mode: str = ""
    detect_local: ProxyDetectLocal = msgspec.field(default_factory=ProxyDetectLocal)
    node_port_addresses: list[str] | None = None
    iptables: ProxyIPTables = msgspec.field(default_factory=ProxyIPTables)
    ipvs: ProxyIPVS = msgspec.field(default_factory=ProxyIPVS)
    conntrack: ProxyConntrack = msgspec.field(default_factory=ProxyConntrack)
    x_node_ip: str = msgspec.field(default="", name="x-node-ip")
    x_local_ips: list[str] | None = msgspec.field(default=None, name="x-local-ips")
    x_random_fully: bool = msgspec.field(default=True, name="x-random-fully")
    x_nfacct: bool = msgspec.field(default=False, name="x-nfacct")


KINDS: dict[str, type[KubeObject]] = {
    "Deployment": Deployment,
    "Endpoints": Endpoints,
    "EndpointSlice": EndpointSlice,
    "Ingress": Ingress,
    "KubeProxyConfiguration": KubeProxyConfiguration,
    "Node": Node,
    "Pod": Pod,
    "ReplicaSet": ReplicaSet,
    "Service": Service,
}
"""The kinds that are read, by their name; objects of others are passed over."""
