"""A cluster's nodes and pods as one `NodeSpec`: what a packet to a Service walks through.

The node in question is the main namespace; other nodes that pods of interest live on are
namespaces beside it, joined by a bridge that stands for the network between them. A pod is a port
of its node's bridge cni0, as a CNI bridge plugin wires it, so its frames enter and leave there.

Differs from Linux: a pod is not a namespace of its own here but the far end of its veth pair; what
it does with a packet that reaches it is not walked.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Collection
from functools import cache
from typing import TypeAlias

from msgspec import Struct, field
from msgspec.structs import replace

from netemu.errors import InputError
from netemu.kube.cluster import Cluster
from netemu.kube.objects import EndpointSlice, Node, Service
from netemu.kube.proxy.ipvs import (
    DUMMY_DEVICE,
    IPVS_SYSCTLS,
    STRICT_ARP_SYSCTLS,
    bound_addresses,
)
from netemu.kube.proxy.render import Rendered, render, version_for
from netemu.kube.proxy.settings import ProxySettings, is_loopback, proxy_settings
from netemu.kube.proxy.version import ProxyVersion, parse_version
from netemu.kube.service_ports import (
    IPV4,
    EndpointInfo,
    ServicePortInfo,
    endpoints_map,
    is_family,
    owner_of,
    port_key,
    service_ports,
)
from netemu.sim.spec import (
    AddressSpec,
    FdbSpec,
    LinkSpec,
    NamespaceSpec,
    NeighbourSpec,
    NexthopSpec,
    NodeSpec,
    RouteSpec,
    SocketSpec,
    TextFile,
)
from netemu.snapshot.bare import SYSCTLS
from netemu.snapshot.implied import implied_routes
from netemu.wire.address import (
    format_address,
    in_prefix,
    network_of,
    parse_address,
    parse_prefix,
)

UPLINK, BRIDGE = "eth0", "cni0"
NETWORK = "network"
"""Namespace of the bridge between nodes; its port `outside` leads out of the cluster."""
OUTSIDE = "outside"
NODE_PREFIX_LEN = 24
"""The subnet that a node's own address is taken to be in."""
POD_GATEWAY = "169.254.1.1"
"""cni0's address on a node without podCIDR, as point-to-point CNI plugins have it."""
FINISHED = ("Succeeded", "Failed")

Later: TypeAlias = Callable[[], NamespaceSpec]
"""Makes what a node gets when the first packet comes by."""


class PodPlace(Struct, frozen=True, kw_only=True):
    """A pod, or an endpoint that stands for one, and where it lives."""

    name: str
    """`namespace/name`; empty for an endpoint without a pod."""
    ip: str
    node: str

    @property
    def device(self) -> str:
        """The node's end of its veth pair."""
        return f"veth{zlib.crc32((self.name or self.ip).encode()):08x}"

    @property
    def mac(self) -> bytes:
        """The address that the CNI bridge plugin gives: 0a:58, then the IPv4 address."""
        return b"\x0a\x58" + parse_address(self.ip)[-4:]


class ClusterNode(Struct, kw_only=True):
    """The spec, and who is who in it."""

    spec: NodeSpec
    rendered: Rendered
    pods: dict[str, PodPlace] = field(default_factory=dict)
    """By device key, `DEV` or `NODE/DEV`."""
    nodes: dict[str, str] = field(default_factory=dict)
    """Namespace -> name of the node."""
    services: list[ServicePortInfo] = field(default_factory=list)
    near: dict[str, Later] = field(default_factory=dict)
    """By namespace of another node: its rules without those that no packet from here meets."""

    def near_spec(self) -> NodeSpec:
        """Return the spec with just these rules: what becomes of a packet is the same, and soon.

        The number of rules that it visits is not.
        """
        others = [replace(part, later=self.near.get(part.name)) for part in self.spec.others]
        return replace(self.spec, others=others)


def cluster_node(
    cluster: Cluster,
    rendered: Rendered,
    *,
    wanted: Collection[str] = (),
    at_once: bool = False,
) -> ClusterNode:
    """Return the node that `rendered` is for, with the pods that matter.

    `wanted` are addresses that must be there: pods among them, and the endpoints of Services that
    they belong to. Pods of other nodes bring their nodes along, whose rules are made when a packet
    gets there, unless they are wanted `at_once`; a node without a Node object lies beyond the
    uplink, as all that is not known.
    """
    settings = rendered.settings
    octets = settings.octets
    shared = _Shared(cluster, octets, settings.version)
    places = _places(shared, settings, set(wanted))
    names = [settings.node_name]
    nodes = {place.node for place in places} | set(filter(None, map(cluster.node_of, wanted)))
    names += sorted(nodes - {settings.node_name})
    found = ClusterNode(
        spec=NodeSpec(main=NamespaceSpec(), source="Kubernetes objects"),
        rendered=rendered,
        services=shared.ports,
    )
    specs: list[NamespaceSpec] = []
    version = str(settings.version)
    met = {*wanted, *(place.ip for place in places)}
    near = cache(lambda: shared.services_at(met, settings.local_ips))
    for number, name in enumerate(names):
        space = "" if number == 0 else name
        own = (
            settings
            if number == 0
            else proxy_settings(cluster, name, octets=octets, version=version)
        )
        builder = _Builder(shared, own, rendered.mode, namespace=space, number=number)
        builder.bind()
        if number == 0:
            builder.program(rendered)
        elif at_once:
            builder.program(render(cluster, name, rendered.mode, octets=octets, version=version))
        else:
            builder.program_later(version)
            found.near[space] = builder.later(version, near)
        builder.add_pods([place for place in places if place.node == name])
        builder.add_routes()
        specs.append(builder.space)
        found.nodes[builder.space.name] = name
        for place in places:
            if place.node == name:
                key = f"{name}/{place.device}" if number else place.device
                found.pods[key] = place
    if len(specs) > 1:
        specs.append(_network(specs))
    found.spec.main, found.spec.others = specs[0], specs[1:]
    return found


def cluster_nodes(cluster: Cluster, *, mode: str, version: str | None) -> NodeSpec:
    """Return all nodes of a cluster, joined by their network, without pods and rules.

    Namespaces have the nodes' names; the first node's is the main one.
    """
    specs: list[NamespaceSpec] = []
    chosen = version_for(cluster, mode, version)
    shared = _Shared(cluster, IPV4, parse_version(chosen))
    for number, node in enumerate(cluster.nodes):
        name = node.metadata.name
        settings = proxy_settings(cluster, name, version=chosen)
        builder = _Builder(shared, settings, mode, namespace=name, number=number)
        builder.add_routes()
        specs.append(builder.space)
    specs.append(_network(specs))
    return NodeSpec(main=specs[0], others=specs[1:], source="Kubernetes objects")


def cluster_at(cluster: Cluster, settings: ProxySettings, addresses: Collection[str]) -> Cluster:
    """Return a cluster without the Services that no packet to these addresses meets."""
    shared = _Shared(cluster, settings.octets, settings.version)
    return shared.services_at(addresses, settings.local_ips)


class _Shared:
    """What all nodes of a cluster have in common, found out once."""

    def __init__(self, cluster: Cluster, octets: int, version: ProxyVersion) -> None:
        self.cluster = cluster
        self.octets = octets
        self.ports = [
            port for service in cluster.services for port in service_ports(service, octets, version)
        ]
        self.endpoints = endpoints_map(cluster.slices, octets, "")
        self.places = pod_places(cluster, octets)
        self.host_ips = {
            item.address for node in cluster.nodes for item in node.status.addresses or ()
        }
        self.pods_of: dict[str, list[PodPlace]] = {}
        for place in self.places.values():
            self.pods_of.setdefault(place.node, []).append(place)
        self.health_ports = {
            port.health_check_node_port for port in self.ports if port.health_check_node_port
        }
        self.host_ports: dict[str, dict[int, None]] = {ip: {} for ip in self.host_ips}
        """Ports of endpoints that are on a node's own address."""
        for items in self.endpoints.values():
            for endpoint in items:
                if endpoint.ip in self.host_ports:
                    self.host_ports[endpoint.ip][endpoint.port] = None

    def services_at(self, addresses: Collection[str], own: Collection[str]) -> Cluster:
        """Return the cluster with only the Services that answer at addresses.

        Or at those of their endpoints: what is sent there may be sent on. `own` are more addresses
        of nodes.
        """
        met, names, before = set(addresses), set[str](), -1
        host_ips = self.host_ips.union(own)
        while before != len(names):
            before = len(names)
            for port in self.ports:
                if not met.isdisjoint(_addresses_of(port, host_ips)):
                    names.add(port_key(port)[0])
                    met.update(item.ip for item in self.endpoints.get(port_key(port), ()))
        found = Cluster()
        for item in self.cluster.objects.values():
            if isinstance(item, Service):
                kept = f"{item.metadata.namespace or 'default'}/{item.metadata.name}" in names
            else:
                kept = not isinstance(item, EndpointSlice) or owner_of(item) in names
            if kept:
                found.add([item])
        return found


# --- Pods -----------------------------------------------------------------------------------------


def pod_places(cluster: Cluster, octets: int) -> dict[str, PodPlace]:
    """Return every pod's place by its address; those on the host's network have none."""
    found: dict[str, PodPlace] = {}
    for pod in cluster.pods:
        if pod.spec.host_network or not pod.spec.node_name or pod.status.phase in FINISHED:
            continue
        key = f"{pod.metadata.namespace or 'default'}/{pod.metadata.name}"
        for ip in pod.ips:
            if is_family(ip, octets):
                found[ip] = PodPlace(name=key, ip=ip, node=pod.spec.node_name)
    return found


def _places(shared: _Shared, settings: ProxySettings, wanted: set[str]) -> list[PodPlace]:
    known, endpoints = shared.places, shared.endpoints
    host_ips = shared.host_ips | set(settings.local_ips)
    there = {node.metadata.name for node in shared.cluster.nodes} | {settings.node_name}
    chosen = {ip: known[ip] for ip in wanted if ip in known and known[ip].node in there}
    for port in shared.ports:
        if wanted.isdisjoint(_addresses_of(port, host_ips)):
            continue
        for endpoint in endpoints.get(port_key(port), []):
            place = known.get(endpoint.ip) or _bare_endpoint(endpoint)
            if place.node in there and endpoint.ip not in host_ips:
                chosen[endpoint.ip] = place
    local = settings.local_range
    for ip in sorted(wanted - chosen.keys() - host_ips):
        if local and in_prefix(parse_address(ip), *parse_prefix(local)):
            if not any(item.ip == ip for items in endpoints.values() for item in items):
                chosen[ip] = PodPlace(name="", ip=ip, node=settings.node_name)
    return [chosen[ip] for ip in sorted(chosen)]


def _bare_endpoint(endpoint: EndpointInfo) -> PodPlace:
    return PodPlace(name=endpoint.target, ip=endpoint.ip, node=endpoint.node_name)


def _addresses_of(port: ServicePortInfo, host_ips: set[str]) -> set[str]:
    """Return the addresses that a Service port answers at, those of all nodes if by NodePort."""
    found = {port.cluster_ip, *port.external_ips, *port.load_balancer_ips}
    return found | host_ips if port.node_port else found


# --- One node -------------------------------------------------------------------------------------


class _Builder:
    """Makes the namespace of one node."""

    def __init__(
        self,
        shared: _Shared,
        settings: ProxySettings,
        mode: str,
        *,
        namespace: str,
        number: int,
    ) -> None:
        self.shared = shared
        self.cluster = cluster = shared.cluster
        self.settings = settings
        self.mode = mode
        self.number = number
        self.octets = settings.octets
        self.bits = self.octets * 8
        self.node: Node | None = cluster.node(settings.node_name) if cluster.nodes else None
        if not self.settings.node_ip:
            raise InputError(
                f"node {self.settings.node_name} has no address of this family; give it an"
                " InternalIP in status.addresses"
            )
        self.space = NamespaceSpec(name=namespace, sysctls=self._sysctls())
        self.pod_range = self._pod_range(self.node)
        self._links()
        self._addresses()
        self.space.sockets = self._sockets()

    def bind(self) -> None:
        """Give kube-ipvs0 its addresses."""
        if self.mode == "ipvs":
            for ip in bound_addresses(self.settings, self.shared.ports):
                self.space.addresses.append(_address(DUMMY_DEVICE, ip, self.bits))

    def program(self, rendered: Rendered) -> None:
        """Give the node what its kube-proxy programs."""
        more = self._programmed(rendered)
        space = self.space
        space.rules4, space.rules6 = more.rules4, more.rules6
        space.ipset, space.ipvs = more.ipset, more.ipvs
        space.sockets = [*(space.sockets or ()), *(more.sockets or ())]

    def program_later(self, version: str) -> None:
        """Let the node get it when a packet comes by: most nodes of a cluster see none."""
        self.space.later = self.later(version, lambda: self.cluster)

    def later(self, version: str, cluster: Callable[[], Cluster]) -> Later:
        """Return what makes the node's rules of a cluster."""

        def program() -> NamespaceSpec:
            name, mode = self.settings.node_name, self.mode
            rendered = render(cluster(), name, mode, octets=self.octets, version=version)
            return self._programmed(rendered)

        return program

    def _programmed(self, rendered: Rendered) -> NamespaceSpec:
        """Return rules, sets, virtual servers and the sockets of a proxy process."""
        found = NamespaceSpec(name=self.space.name)
        rules = TextFile(name=f"rules of {self.settings.node_name}", text=rendered.merged())
        if self.octets == IPV4:
            found.rules4 = rules
        else:
            found.rules6 = rules
        if rendered.ipvs is not None:
            found.ipset = TextFile(name="ipset", text=rendered.ipvs.ipset_text())
            found.ipvs = TextFile(name="ipvsadm", text=rendered.ipvs.ipvsadm_text())
        anywhere = bytes(self.octets)
        found.sockets = [
            SocketSpec(protocol=proxy.protocol, address=anywhere, port=proxy.port)
            for proxy in rendered.proxies
        ]
        return found

    def _sysctls(self) -> dict[str, str]:
        found = dict(SYSCTLS)
        found["net.ipv4.conf.all.send_redirects"] = "0"
        found["net.ipv4.conf.default.send_redirects"] = "0"
        if self.settings.node_ports_on_loopback() and self.mode == "iptables":
            found["net.ipv4.conf.all.route_localnet"] = "1"
        if self.mode == "ipvs":
            found |= IPVS_SYSCTLS
            if self.settings.strict_arp:
                found |= STRICT_ARP_SYSCTLS
        return found

    def _pod_range(self, node: Node | None) -> str:
        if node is None:
            return ""
        ranges = node.spec.pod_cidrs or [node.spec.pod_cidr]
        return next(
            (text for text in ranges if text and len(parse_prefix(text)[0]) == self.octets), ""
        )

    def _links(self) -> None:
        mac = uplink_mac(parse_address(self.settings.node_ip))
        self.space.links = [
            LinkSpec(name="lo", ifindex=1, kind="loopback", mtu=65536),
            LinkSpec(name=UPLINK, ifindex=2, mac=mac),
            LinkSpec(
                name=BRIDGE,
                ifindex=3,
                kind="bridge",
                mac=bytes((0x0A, 0x58, 0, 0, 0, self.number)),
            ),
        ]
        if self.mode == "ipvs":
            dummy = bytes((0x0A, 0x58, 0, 0, 1, self.number))
            self.space.links.append(
                LinkSpec(
                    name=DUMMY_DEVICE, ifindex=4, kind="dummy", mac=dummy, noarp=True, up=False
                )
            )

    def _addresses(self) -> None:
        space, settings = self.space, self.settings
        loopback = ("127.0.0.1", 8) if self.octets == IPV4 else ("::1", 128)
        space.addresses = [_address("lo", *loopback, scope="host")]
        length = NODE_PREFIX_LEN if self.octets == IPV4 else 64
        space.addresses.append(_address(UPLINK, settings.node_ip, length))
        for ip in settings.local_ips:
            if ip != settings.node_ip and not is_loopback(ip):
                space.addresses.append(_address(UPLINK, ip, self.bits))
        if self.pod_range:
            prefix, length = parse_prefix(self.pod_range)
            first = (int.from_bytes(prefix, "big") + 1).to_bytes(self.octets, "big")
            space.addresses.append(_address(BRIDGE, format_address(first), length))
        elif self.octets == IPV4:
            space.addresses.append(_address(BRIDGE, POD_GATEWAY, self.bits))

    def _sockets(self) -> list[SocketSpec]:
        """Return those of processes that take packets for the node's own addresses."""
        host, anywhere = parse_address(self.settings.node_ip), bytes(self.octets)
        found = [
            SocketSpec(protocol="tcp", address=anywhere, port=port)
            for port in sorted(self.shared.health_ports)
        ]
        found += [
            SocketSpec(protocol=protocol, address=host, port=port)
            for port in self.shared.host_ports.get(self.settings.node_ip, ())
            for protocol in ("tcp", "udp")
        ]
        return found

    def add_pods(self, places: list[PodPlace]) -> None:
        """Wire pods to the bridge."""
        for place in places:
            index = max(link.ifindex for link in self.space.links) + 1
            self.space.links.append(
                LinkSpec(
                    name=place.device,
                    ifindex=index,
                    kind="veth",
                    mac=bytes((0x0A, 0x58, 0xFF, self.number, index >> 8 & 0xFF, index & 0xFF)),
                    master=BRIDGE,
                    port={"hairpin": 1},
                )
            )
            address = parse_address(place.ip)
            self.space.neighbours.append(
                NeighbourSpec(device=BRIDGE, address=address, mac=place.mac)
            )
            self.space.fdb.append(FdbSpec(bridge=BRIDGE, device=place.device, mac=place.mac))
            if not self._in_pod_range(address):
                self.space.routes.append(_route(address, self.bits, BRIDGE))

    def _in_pod_range(self, address: bytes) -> bool:
        return bool(self.pod_range) and in_prefix(address, *parse_prefix(self.pod_range))

    def add_routes(self) -> None:
        """Add the routes of addresses, to other nodes' pods, and out of the cluster."""
        space = self.space
        space.routes += implied_routes(space.addresses)
        for node in self.cluster.nodes:
            name = node.metadata.name
            ips = [
                item.address
                for item in node.status.addresses or ()
                if item.type == "InternalIP" and is_family(item.address, self.octets)
            ]
            if name == self.settings.node_name or not ips:
                continue
            gateway = parse_address(ips[0])
            self._neighbour_node(gateway)
            remote = self._pod_range(node)
            if remote:
                space.routes.append(_route(*parse_prefix(remote), UPLINK, gateway))
            for place in self.shared.pods_of.get(name, ()):
                address = parse_address(place.ip)
                if not remote or not in_prefix(address, *parse_prefix(remote)):
                    space.routes.append(_route(address, self.bits, UPLINK, gateway))
        space.routes.append(_route(bytes(self.octets), 0, UPLINK, self._gateway()))

    def _neighbour_node(self, address: bytes) -> None:
        length = NODE_PREFIX_LEN if self.octets == IPV4 else 64
        subnet = network_of(parse_address(self.settings.node_ip), length)
        if not in_prefix(address, subnet, length):
            self.space.routes.append(_route(address, self.bits, UPLINK))
        mac = uplink_mac(address)
        self.space.neighbours.append(NeighbourSpec(device=UPLINK, address=address, mac=mac))

    def _gateway(self) -> bytes:
        """Return the last host of the node's subnet that is no node."""
        length = NODE_PREFIX_LEN if self.octets == IPV4 else 64
        subnet = int.from_bytes(network_of(parse_address(self.settings.node_ip), length), "big")
        taken = {parse_address(ip) for ip in self.settings.local_ips}
        taken |= {entry.address for entry in self.space.neighbours}
        for host in range(254, 0, -1):
            address = (subnet + host).to_bytes(self.octets, "big")
            if address not in taken:
                return address
        raise InputError(f"the subnet of node {self.settings.node_name} has no free address")


def uplink_mac(address: bytes) -> bytes:
    """Return the MAC of the uplink of the node that has an address."""
    return b"\x52\x54" + address[-4:]


def _address(device: str, ip: str, length: int, *, scope: str = "global") -> AddressSpec:
    return AddressSpec(device=device, address=parse_address(ip), prefix_len=length, scope=scope)


def _route(prefix: bytes, length: int, device: str, gateway: bytes = b"") -> RouteSpec:
    return RouteSpec(
        prefix=prefix,
        prefix_len=length,
        nexthops=(NexthopSpec(device=device, gateway=gateway),),
        scope="global" if gateway else "link",
    )


def _network(nodes: list[NamespaceSpec]) -> NamespaceSpec:
    """Join the nodes' uplinks by a bridge that has one more port, to the outside."""
    space = NamespaceSpec(name=NETWORK)
    space.links = [
        LinkSpec(name="lo", ifindex=1, kind="loopback", mtu=65536),
        LinkSpec(name="lan", ifindex=2, kind="bridge", mac=bytes((0x52, 0x54, 0, 0, 3, 0))),
        LinkSpec(name=OUTSIDE, ifindex=3, master="lan", mac=bytes((0x52, 0x54, 0, 0, 3, 1))),
    ]
    for number, node in enumerate(nodes):
        index = 10 + number
        space.links.append(
            LinkSpec(
                name=f"to{number}",
                ifindex=index,
                kind="veth",
                master="lan",
                mac=bytes((0x52, 0x54, 0, 0, 3, index)),
                peer_ifindex=2,
                peer_netnsid=number,
            )
        )
        space.netns_ids[number] = node.name
        node.netns_ids[0] = NETWORK
        node.links[1] = replace(node.links[1], kind="veth", peer_ifindex=index, peer_netnsid=0)
        space.fdb.append(FdbSpec(bridge="lan", device=f"to{number}", mac=node.links[1].mac))
    return space
