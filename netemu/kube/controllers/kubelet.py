"""The scheduler and kubelet: where a pod runs, and how it starts, becomes ready and ends.

Source: pkg/scheduler (LeastAllocated), pkg/kubelet/kubelet_pods.go, prober (Kubernetes 1.30).

Theory of operation: everything happens on the simulated clock. A pod without node is bound to the
node with the fewest pods; its container starts after `start_s`; its readiness probe then decides,
every `probe_period_s`, by what the scenario says of the container. A deleted pod is terminating
at once, and gone when its container has ended, after the grace period at the latest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec
from msgspec import Struct, field

from netemu.clock import NSEC_PER_SEC, Clock
from netemu.errors import UsageError
from netemu.kube.allocation import pod_addresses
from netemu.kube.objects import Condition, Node, Pod, PodIP
from netemu.kube.store import Store


class Timing(Struct, frozen=True, kw_only=True):
    """How long things take; Kubernetes' defaults where it has any."""

    bind_s: float = 0.02
    start_s: float = 1.0
    """From being bound until the container runs."""
    probe_period_s: float = 10.0
    """readinessProbe.periodSeconds."""
    probe_failures: int = 3
    """readinessProbe.failureThreshold."""
    end_s: float = 0.5
    """How long a container takes to end after SIGTERM."""
    restart_s: float = 1.0
    """How long a container that crashed takes to be started again, the first time."""


class _Running(Struct):
    """What kubelet knows of one pod beside its object."""

    answers: bool = True
    """Whether the readiness probe succeeds while the container runs."""
    down: bool = False
    """Whether the container has crashed and waits to be started again."""
    failures: int = 0


class Kubelet(Struct):
    """The kubelets of all nodes, and the scheduler."""

    store: Store
    clock: Clock
    timing: Timing
    started: Callable[[Pod], None]
    """Told when a pod has its address and its container runs."""
    ended: Callable[[Pod], None]
    """Told when a pod's container is gone."""
    _running: dict[str, _Running] = field(default_factory=dict)
    _free: dict[str, Iterator[str]] = field(default_factory=dict)
    _known: set[str] = field(default_factory=set)

    def pod_changed(self, pod: Pod) -> None:
        """Take a pod up that is new."""
        if pod.key in self._known or pod.status.phase in {"Succeeded", "Failed"}:
            return
        self._known.add(pod.key)
        if not pod.spec.node_name:
            self._later(self.timing.bind_s, lambda: self._bind(pod.key))
        elif not pod.ips:
            self._later(self.timing.start_s, lambda: self._start(pod.key))
        else:
            self._running[pod.key] = _Running(answers=pod.ready)
            self.started(pod)
            self._probe_later(pod.key)

    def delete(self, pod: Pod) -> None:
        """Delete a pod gracefully: terminating now, gone when its container has ended."""
        if pod.metadata.deletion_timestamp is not None:
            return
        moment = f"{(self.clock.now_ns - self.clock.start_ns) / NSEC_PER_SEC:g}s"
        meta = msgspec.structs.replace(pod.metadata, deletion_timestamp=moment)
        self.store.apply(msgspec.structs.replace(pod, metadata=meta))
        grace_s = min(self.timing.end_s, pod.spec.termination_grace_period_seconds)
        self._later(grace_s, lambda: self._gone(pod.key))

    def crash(self, pod: Pod) -> None:
        """Let a pod's container end by itself; kubelet starts it again in place."""
        self._state(pod.key).down = True
        self.ended(pod)
        self._set_ready(pod.key, ready=False)
        self._later(self.timing.restart_s, lambda: self._restarted(pod.key))

    def set_answers(self, pod: Pod, *, answers: bool) -> None:
        """Let a pod's readiness probe succeed or fail from now on."""
        self._state(pod.key).answers = answers

    def _state(self, key: str) -> _Running:
        found = self._running.get(key)
        if found is None:
            raise UsageError(f"pod {key} does not run")
        return found

    def _later(self, delay_s: float, function: Callable[[], None]) -> None:
        self.clock.call_later(round(delay_s * NSEC_PER_SEC), function)

    def _bind(self, key: str) -> None:
        pod = self.store.find(Pod, key)
        if pod is None or pod.spec.node_name:
            return
        nodes = [node for node in self.store.cluster.nodes if not node.spec.unschedulable]
        if not nodes:
            raise UsageError(f"no node takes pod {key}; a Node object is needed")
        load = {node.metadata.name: 0 for node in nodes}
        for other in self.store.cluster.pods:
            if other.spec.node_name in load:
                load[other.spec.node_name] += 1
        name = min(load, key=lambda node: (load[node], node))
        spec = msgspec.structs.replace(pod.spec, node_name=name)
        self.store.apply(msgspec.structs.replace(pod, spec=spec))
        self._later(self.timing.start_s, lambda: self._start(key))

    def _start(self, key: str) -> None:
        pod = self.store.find(Pod, key)
        if pod is None or pod.metadata.deletion_timestamp is not None:
            return
        ip = self._address(pod.spec.node_name)
        status = msgspec.structs.replace(
            pod.status, phase="Running", pod_ip=ip, pod_ips=[PodIP(ip=ip)]
        )
        self._running[key] = _Running()
        self.started(self.store.apply(msgspec.structs.replace(pod, status=status)))
        self._probe(key)

    def _restarted(self, key: str) -> None:
        pod = self.store.find(Pod, key)
        if pod is not None and pod.metadata.deletion_timestamp is None:
            self._state(key).down = False
            self.started(pod)
            self._set_ready(key, ready=self._state(key).answers)

    def _address(self, node_name: str) -> str:
        """Return the next address of a node's range that no pod has."""
        node: Node = self.store.get(Node, node_name)
        if not node.spec.pod_cidr:
            raise UsageError(f"node {node_name} has no podCIDR, so its new pods get no address")
        free = self._free.setdefault(node_name, pod_addresses(node.spec.pod_cidr))
        taken = {ip for pod in self.store.cluster.pods for ip in pod.ips}
        for ip in free:
            if ip not in taken:
                return ip
        raise UsageError(f"the podCIDR of node {node_name} is used up")

    def _probe_later(self, key: str) -> None:
        self._later(self.timing.probe_period_s, lambda: self._probe(key))

    def _probe(self, key: str) -> None:
        """Probe a pod: one success makes it ready, three failures in a row unready."""
        state = self._running.get(key)
        pod = self.store.find(Pod, key)
        if state is None or pod is None:
            return
        if state.answers and not state.down:
            state.failures = 0
            self._set_ready(key, ready=True)
        else:
            state.failures += 1
            if not pod.ready or state.failures >= self.timing.probe_failures:
                self._set_ready(key, ready=False)
        self._probe_later(key)

    def _set_ready(self, key: str, *, ready: bool) -> None:
        pod = self.store.find(Pod, key)
        if pod is None:
            return
        others = [item for item in pod.status.conditions or () if item.type != "Ready"]
        conditions = [*others, Condition(type="Ready", status="True" if ready else "False")]
        status = msgspec.structs.replace(pod.status, conditions=conditions)
        self.store.apply(msgspec.structs.replace(pod, status=status))

    def _gone(self, key: str) -> None:
        pod = self.store.find(Pod, key)
        self._running.pop(key, None)
        if pod is not None:
            self.ended(pod)
            self.store.delete(pod)
