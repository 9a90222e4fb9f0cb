"""The control plane as a model: controllers that watch the store, on the simulated clock.

Source: the controllers of kube-controller-manager (Kubernetes 1.30), see `kube/controllers`.

Theory of operation: a change in the store wakes the controllers that it concerns; each acts a
moment later, by writing to the store again. kube-proxy of every node is told what is to be
programmed by `program`, at most once a second as its bounded-frequency runner does (minSyncPeriod
1 s, burst 2).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec
from msgspec import Struct

from netemu.clock import NSEC_PER_SEC, Clock
from netemu.kube.allocation import free_cluster_ip, free_node_port
from netemu.kube.controllers.endpointslice import selects, slices_of
from netemu.kube.controllers.kubelet import Kubelet, Timing
from netemu.kube.controllers.workload import DeploymentController, ReplicaSetController
from netemu.kube.objects import (
    Deployment,
    EndpointSlice,
    LoadBalancerIngress,
    LoadBalancerStatus,
    Node,
    Pod,
    ReplicaSet,
    Service,
    ServiceStatus,
)
from netemu.kube.service_ports import SERVICE_NAME_LABEL
from netemu.kube.store import EventType, Store, WatchEvent

CONTROLLER_S = 0.02
"""How long a controller takes to see a change and act."""
SYNC_PERIOD_S = 1.0
"""kube-proxy's minSyncPeriod."""
SYNC_BURST = 2
LOAD_BALANCER_PREFIX = "198.51.100."
"""Addresses of the cloud's load balancers, of RFC 5737 TEST-NET-2."""


class _Syncer(Struct):
    """kube-proxy's bounded-frequency runner of one node (pkg/util/async)."""

    clock: Clock
    run: Callable[[], None]
    stopped: bool = False
    tokens: float = SYNC_BURST
    filled_ns: int = 0
    waiting: bool = False

    def wanted(self) -> None:
        """Run now if a run is free, else as soon as one is."""
        if self.waiting or self.stopped:
            return
        now_ns = self.clock.now_ns
        gained = (now_ns - self.filled_ns) / NSEC_PER_SEC / SYNC_PERIOD_S
        self.tokens = min(SYNC_BURST, self.tokens + gained)
        self.filled_ns = now_ns
        missing = max(0.0, 1 - self.tokens)
        self.tokens -= 1
        self.waiting = True
        self.clock.call_later(round(missing * SYNC_PERIOD_S * NSEC_PER_SEC), self._run)

    def _run(self) -> None:
        self.waiting = False
        if not self.stopped:
            self.run()


@dataclass(slots=True)
class ControlPlane:
    """All controllers of a cluster."""

    store: Store
    clock: Clock
    timing: Timing
    pod_started: Callable[[Pod], None]
    pod_ended: Callable[[Pod], None]
    program: Callable[[str], None]
    """Told the name of a node whose kube-proxy syncs now."""
    kubelet: Kubelet = field(init=False)
    _deployments: DeploymentController = field(init=False)
    _replica_sets: ReplicaSetController = field(init=False)
    _syncers: dict[str, _Syncer] = field(default_factory=dict)
    _due: set[tuple[str, str]] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Make the controllers."""
        self.kubelet = Kubelet(
            self.store, self.clock, self.timing, self.pod_started, self.pod_ended
        )
        self._deployments = DeploymentController(self.store)
        self._replica_sets = ReplicaSetController(self.store)

    def start(self) -> None:
        """Begin to watch."""
        self.store.watch(self._changed)

    def proxy_of(self, node: str) -> _Syncer:
        """Return the runner of a node's kube-proxy."""
        found = self._syncers.get(node)
        if found is None:
            found = _Syncer(self.clock, lambda: self.program(node), filled_ns=self.clock.now_ns)
            self._syncers[node] = found
        return found

    def _changed(self, event: WatchEvent) -> None:
        item = event.object
        if isinstance(item, Pod):
            self._pod_changed(event, item)
        elif isinstance(item, Service):
            if event.type != EventType.DELETED:
                self._soon("service", item.key)
            else:
                self._drop_slices(item)
            self._proxies_sync()
        elif isinstance(item, EndpointSlice):
            self._proxies_sync()
        elif isinstance(item, Deployment) and event.type != EventType.DELETED:
            self._soon("deployment", item.key)
        elif isinstance(item, ReplicaSet) and event.type != EventType.DELETED:
            self._soon("replicaset", item.key)
        elif isinstance(item, Node) and event.type != EventType.DELETED:
            self.proxy_of(item.metadata.name).wanted()

    def _pod_changed(self, event: WatchEvent, pod: Pod) -> None:
        if event.type != EventType.DELETED:
            self.kubelet.pod_changed(pod)
        for service in self.store.cluster.services:
            if selects(service.spec.selector, pod.metadata.labels):
                self._soon("service", service.key)
        for owner in self.store.cluster.all(ReplicaSet):
            if selects(owner.spec.selector.match_labels, pod.metadata.labels):
                self._soon("replicaset", owner.key)
        for deployment in self.store.cluster.all(Deployment):
            if selects(deployment.spec.selector.match_labels, pod.metadata.labels):
                self._soon("deployment", deployment.key)

    def _soon(self, kind: str, key: str) -> None:
        """Let a controller look at an object a moment later; once, however often it changes."""
        if (kind, key) not in self._due:
            self._due.add((kind, key))
            delay_ns = round(CONTROLLER_S * NSEC_PER_SEC)
            self.clock.call_later(delay_ns, lambda: self._sync(kind, key))

    def _sync(self, kind: str, key: str) -> None:
        self._due.discard((kind, key))
        if kind == "service":
            service = self.store.find(Service, key)
            if service is not None:
                self._sync_service(self._allocate(service))
        elif kind == "deployment":
            deployment = self.store.find(Deployment, key)
            if deployment is not None:
                self._deployments.sync(deployment)
        else:
            owner = self.store.find(ReplicaSet, key)
            if owner is not None:
                for pod in self._replica_sets.sync(owner):
                    self.kubelet.delete(pod)

    def _allocate(self, service: Service) -> Service:
        """Give a Service the addresses and ports that it lacks."""
        spec, others = service.spec, self.store.cluster.services
        if spec.type == "ExternalName":
            return service
        if not spec.cluster_ip:
            ip = free_cluster_ip(item.spec.cluster_ip for item in others if item.spec.cluster_ip)
            spec = msgspec.structs.replace(spec, cluster_ip=ip, cluster_ips=[ip])
        if spec.type in {"NodePort", "LoadBalancer"}:
            taken = {port.node_port for item in others for port in item.spec.ports or ()}
            ports = []
            for port in spec.ports or ():
                number = port.node_port or free_node_port(taken)
                taken.add(number)
                ports.append(msgspec.structs.replace(port, node_port=number))
            spec = msgspec.structs.replace(spec, ports=ports)
        status = service.status
        if spec.type == "LoadBalancer" and not status.load_balancer.ingress:
            status = ServiceStatus(
                load_balancer=LoadBalancerStatus(ingress=[LoadBalancerIngress(ip=self._cloud_ip())])
            )
        return self.store.apply(msgspec.structs.replace(service, spec=spec, status=status))

    def _cloud_ip(self) -> str:
        taken = {
            item.ip
            for service in self.store.cluster.services
            for item in service.status.load_balancer.ingress or ()
        }
        addresses = (f"{LOAD_BALANCER_PREFIX}{number}" for number in range(1, 255))
        return next(ip for ip in addresses if ip not in taken)

    def _sync_service(self, service: Service) -> None:
        """Make the slices of a Service with a selector what its pods are now."""
        if not service.spec.selector:
            return
        wanted = slices_of(service, self.store.cluster.pods, self.store.cluster.nodes)
        for item in self._slices(service):
            if all(other.key != item.key for other in wanted):
                self.store.delete(item)
        for item in wanted:
            self.store.apply(item)

    def _slices(self, service: Service) -> list[EndpointSlice]:
        return [
            item
            for item in self.store.cluster.slices
            if (item.metadata.namespace or "default") == (service.metadata.namespace or "default")
            and (item.metadata.labels or {}).get(SERVICE_NAME_LABEL) == service.metadata.name
        ]

    def _drop_slices(self, service: Service) -> None:
        for item in self._slices(service):
            self.store.delete(item)

    def _proxies_sync(self) -> None:
        for node in self.store.cluster.nodes:
            self.proxy_of(node.metadata.name).wanted()
