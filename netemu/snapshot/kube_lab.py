"""A cluster that lives: its objects' controllers and its nodes' packets on one clock.

Pods are namespaces here, with a server that answers with the pod's name; they come and go as
kubelet says. kube-proxy of every node changes its rules when it syncs, and connections stay.
"""

from __future__ import annotations

from collections.abc import Callable

from netemu.clock import NSEC_PER_SEC, Clock
from netemu.errors import UsageError
from netemu.ip.sockets import Listener, Sockets
from netemu.ip.tcp_program import Connection, TcpProgram
from netemu.kube.cluster import Cluster
from netemu.kube.controllers.endpointslice import selects, target_port
from netemu.kube.controllers.kubelet import Timing
from netemu.kube.controlplane import ControlPlane
from netemu.kube.objects import EndpointSlice, Pod
from netemu.kube.proxy.ipvs_sync import RECHECK_S
from netemu.kube.proxy.sync import SYNC_PERIOD_S
from netemu.kube.store import EventType, Store, WatchEvent
from netemu.sim.lab import Lab
from netemu.sim.lab_spec import LabSpec
from netemu.sim.programs import Http
from netemu.sim.reverse_proxy import ReverseProxy
from netemu.sim.spec import (
    AddressSpec,
    LinkSpec,
    NamespaceSpec,
    NodeSpec,
    SocketSpec,
)
from netemu.snapshot.change import route_spec
from netemu.snapshot.implied import implied_routes
from netemu.snapshot.kube_dns import ClusterDns
from netemu.snapshot.kube_ingress import is_controller, server_for
from netemu.snapshot.kube_node import BRIDGE, PodPlace, cluster_nodes
from netemu.snapshot.kube_outside import Outside
from netemu.snapshot.kube_proxy import KubeProxy
from netemu.wire.address import format_address, parse_address

DNS_LABEL = ("k8s-app", "kube-dns")
POD_DEVICE = "eth0"


class _Page(Http):
    """Answers with the pod's name and, in a second line, the client's address that the pod sees."""

    def opened(self, connection: Connection) -> None:
        """Take note of the client."""
        self.body += f"\n{format_address(connection.peer[0])}"


class PodServer:
    """What listens in a pod."""

    def __init__(self, name: str) -> None:
        """Answer with the pod's name."""
        self._name = name

    def accept(self) -> TcpProgram:
        """Return what takes the next TCP connection."""
        return _Page(self._name)

    def answer(self, datagram: bytes, client: tuple[bytes, int]) -> bytes | None:
        """Answer a datagram with the pod's name."""
        del datagram, client
        return self._name.encode()


class KubeLab:
    """The running cluster."""

    def __init__(  # noqa: PLR0913 - one keyword per setting of a scenario
        self,
        cluster: Cluster,
        *,
        mode: str,
        version: str | None,
        timing: Timing,
        tell: Callable[[str], None],
        seed: int = 0,
        kernel: str = "6.18",
    ) -> None:
        """Build nodes without pods; `start` brings the objects to life."""
        if not cluster.nodes:
            raise UsageError("a cluster that runs needs Node objects")
        self.mode = mode
        self.version = version
        self.cluster = cluster
        self.tell = tell
        spec = cluster_nodes(cluster, mode=mode, version=version)
        self.lab = Lab(LabSpec(node=spec), seed=seed, kernel=kernel)
        self.store = Store()
        self.plane = ControlPlane(
            self.store,
            self.clock,
            timing,
            pod_started=self._pod_started,
            pod_ended=self._pod_ended,
            program=self._program,
        )
        self.outside = Outside(self.lab.node, self.store.cluster)
        self.proxies: dict[str, KubeProxy] = {}
        """kube-proxy of every node."""
        self._frozen: set[str] = set()

    @property
    def clock(self) -> Clock:
        """The one clock."""
        return self.lab.node.clock

    def start(self) -> None:
        """Create the objects, and let what is there already be there at once."""
        for item in self.cluster.objects.values():
            self.store.apply(item)
        for node in self.store.cluster.nodes:
            name = node.metadata.name
            self.proxies[name] = KubeProxy(
                self.lab.node, name, self.store.cluster, mode=self.mode, version=self.version
            )
            self.proxies[name].sync()
        self._again(RECHECK_S, self._recheck)
        self._again(SYNC_PERIOD_S, self._sync_all)
        self.store.watch(self._told)
        self.plane.start()

    # --- Pods -------------------------------------------------------------------------------------

    def _pod_started(self, pod: Pod) -> None:
        """Plug a pod in, if it is new, and let its server listen."""
        if pod.key not in self.lab.node.namespaces:
            self._plug(pod)
        net = self.lab.node.namespaces[pod.key].net
        sockets = net.generic(Sockets)
        for protocol, port in sorted(self._ports(pod)):
            socket = SocketSpec(protocol=protocol, address=bytes(4), port=port)
            sockets.listen(socket, self._server(pod))
        self.tell(f"pod {pod.key} runs at {pod.ips[0]} on {pod.spec.node_name}")

    def _plug(self, pod: Pod) -> None:
        host = self.lab.node.namespaces[pod.spec.node_name]
        place = PodPlace(name=pod.key, ip=pod.ips[0], node=pod.spec.node_name)
        gateway = next(item for item in host.spec.addresses if item.device == BRIDGE)
        address = AddressSpec(
            device=POD_DEVICE, address=parse_address(place.ip), prefix_len=gateway.prefix_len
        )
        loopback = AddressSpec(
            device="lo", address=bytes((127, 0, 0, 1)), prefix_len=8, scope="host"
        )
        part = NamespaceSpec(
            name=pod.key,
            addresses=[loopback, address],
            netns_ids={0: pod.spec.node_name},
        )
        part.routes = [
            *implied_routes(part.addresses),
            route_spec(bytes(4), 0, POD_DEVICE, gateway.address),
        ]
        index = max(device.ifindex for device in host.net.devices.values()) + 1
        part.links = [
            LinkSpec(
                name=POD_DEVICE,
                ifindex=2,
                kind="veth",
                mac=place.mac,
                peer_ifindex=index,
                peer_netnsid=0,
            )
        ]
        end = LinkSpec(
            name=place.device,
            ifindex=index,
            kind="veth",
            mac=bytes((0x0A, 0x58, 0xFF, 0, index >> 8 & 0xFF, index & 0xFF)),
            master=BRIDGE,
            port={"hairpin": 1},
            peer_ifindex=2,
            peer_netnsid=0,
        )
        host_part = NamespaceSpec(name=pod.spec.node_name, links=[end], netns_ids={0: pod.key})
        self.lab.node.grow(NodeSpec(main=part, others=[host_part]))

    def _ports(self, pod: Pod) -> set[tuple[str, int]]:
        """Return the ports that a pod's server listens at: named ones, and those of Services."""
        found = {
            (port.protocol.lower(), port.container_port)
            for container in pod.spec.containers or ()
            for port in container.ports or ()
        }
        for service in self.store.cluster.services:
            if selects(service.spec.selector, pod.metadata.labels):
                for port in service.spec.ports or ():
                    number = target_port(port, pod)
                    if number:
                        found.add((port.protocol.lower(), number))
        return {item for item in found if item[0] in {"tcp", "udp"}}

    def _server(self, pod: Pod) -> Listener:
        cluster = self.store.cluster
        if is_controller(cluster, pod):
            net = self.lab.node.namespaces[pod.key].net
            return ReverseProxy(net, lambda host, path: server_for(cluster, host, path))
        name, value = DNS_LABEL
        if (pod.metadata.labels or {}).get(name) == value:
            return ClusterDns(cluster)
        return PodServer(pod.key)

    def _pod_ended(self, pod: Pod) -> None:
        """Close a pod's sockets: its container is gone."""
        space = self.lab.node.namespaces.get(pod.key)
        if space is not None:
            for protocol, port in self._ports(pod):
                space.net.generic(Sockets).close(protocol, bytes(4), port)

    def freeze(self, pod: Pod) -> None:
        """Let a pod fall silent without anybody being told: its end of the pair goes down."""
        space = self.lab.node.namespaces[pod.key]
        space.net.devices[POD_DEVICE].up = False
        self._frozen.add(pod.key)

    def _told(self, event: WatchEvent) -> None:
        item = event.object
        for name, proxy in self.proxies.items():
            if not self.plane.proxy_of(name).stopped:
                proxy.told(item, gone=event.type == EventType.DELETED)
        if isinstance(item, Pod):
            self._pod_told(event, item)
        elif isinstance(item, EndpointSlice) and event.type != EventType.DELETED:
            self._slice_told(item)

    def _pod_told(self, event: WatchEvent, pod: Pod) -> None:
        before = event.before
        if event.type == EventType.DELETED:
            if pod.key in self.lab.node.namespaces:
                self.lab.node.remove(pod.key)
            self.tell(f"pod {pod.key} is gone")
        elif isinstance(before, Pod):
            if before.ready != pod.ready:
                self.tell(f"pod {pod.key} is {'ready' if pod.ready else 'not ready'}")
            if before.metadata.deletion_timestamp is None and pod.metadata.deletion_timestamp:
                self.tell(f"pod {pod.key} is terminating")

    def _slice_told(self, item: EndpointSlice) -> None:
        ready = [
            endpoint.addresses[0]
            for endpoint in item.endpoints or ()
            if endpoint.conditions.ready is not False
        ]
        self.tell(f"endpoints {item.key}: {' '.join(ready) or 'none'}")

    # --- kube-proxy -------------------------------------------------------------------------------

    def _program(self, name: str) -> None:
        """Let a node's kube-proxy sync."""
        self._tell_of(name, self.proxies[name].sync())

    def _tell_of(self, name: str, what: str) -> None:
        if what:
            self.tell(f"kube-proxy on {name}: {what}")

    def _again(self, period_s: int, act: Callable[[], None]) -> None:
        """Do something over and over."""

        def run() -> None:
            act()
            self._again(period_s, act)

        self.clock.call_later(period_s * NSEC_PER_SEC, run)

    def _recheck(self) -> None:
        for name, proxy in self.proxies.items():
            if not self.plane.proxy_of(name).stopped:
                self._tell_of(name, proxy.recheck())

    def _sync_all(self) -> None:
        for name in self.proxies:
            self.plane.proxy_of(name).wanted()
