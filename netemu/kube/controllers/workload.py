"""The Deployment and ReplicaSet controllers: how many pods of which template there are.

Source: pkg/controller/deployment/rolling.go, pkg/controller/replicaset/replica_set.go (Kubernetes
1.30).

Differs from Linux: names of pods and templates end in a hash of what they are made of and a number,
where Kubernetes draws five letters at random.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import msgspec

from netemu.kube.controllers.endpointslice import selects
from netemu.kube.objects import (
    Deployment,
    Labels,
    LabelSelector,
    ObjectMeta,
    OwnerReference,
    Pod,
    PodStatus,
    PodTemplate,
    ReplicaSet,
    ReplicaSetSpec,
)
from netemu.kube.store import Store

TEMPLATE_LABEL = "pod-template-hash"
SURGE = UNAVAILABLE = 0.25
"""maxSurge is rounded up, maxUnavailable down."""
LETTERS = "bcdfghjklmnpqrstvwxz2456789"
"""Kubernetes' names use these, which form no words (apimachinery util/rand)."""


def template_hash(template: PodTemplate) -> str:
    """Return the name of a template."""
    digest = hashlib.sha256(msgspec.json.encode(template)).digest()
    return "".join(LETTERS[octet % len(LETTERS)] for octet in digest[:9])


def _owned(owner: Deployment | ReplicaSet) -> OwnerReference:
    return OwnerReference(kind=type(owner).__name__, name=owner.metadata.name)


def is_owned(item: Pod | ReplicaSet, owner: Deployment | ReplicaSet) -> bool:
    """Return whether an object was made by a controller's object."""
    if (item.metadata.namespace or "default") != (owner.metadata.namespace or "default"):
        return False
    return any(
        reference.kind == type(owner).__name__ and reference.name == owner.metadata.name
        for reference in item.metadata.owner_references or ()
    )


def is_active(pod: Pod) -> bool:
    """Return whether a pod counts: it is not finished and not being deleted (IsPodActive)."""
    return (
        pod.status.phase not in {"Succeeded", "Failed"} and pod.metadata.deletion_timestamp is None
    )


class DeploymentController:
    """Keeps one ReplicaSet at full size and lets the others shrink, step by step."""

    def __init__(self, store: Store) -> None:
        """Work on a store."""
        self.store = store

    def sync(self, deployment: Deployment) -> None:
        """Bring the ReplicaSets of a Deployment one step closer to what it asks for."""
        new = self._new_replica_set(deployment)
        wanted = deployment.spec.replicas
        sets = [item for item in self.store.cluster.all(ReplicaSet) if is_owned(item, deployment)]
        old = [item for item in sets if item.key != new.key]
        total = sum(item.spec.replicas for item in sets)
        room = wanted + math.ceil(wanted * SURGE) - total if old else wanted
        grown = min(wanted, new.spec.replicas + max(room, 0)) if old else wanted
        self._scale(new, grown)
        least = wanted - math.floor(wanted * UNAVAILABLE)
        ready = sum(pod.ready for item in sets for pod in self._pods(item))
        for item in old:
            unready = sum(not pod.ready for pod in self._pods(item))
            fewer = min(item.spec.replicas, max(ready - least, 0) + unready)
            if fewer:
                self._scale(item, item.spec.replicas - fewer)
                ready -= fewer

    def _pods(self, owner: ReplicaSet) -> list[Pod]:
        return [pod for pod in self.store.cluster.pods if is_owned(pod, owner) and is_active(pod)]

    def _new_replica_set(self, deployment: Deployment) -> ReplicaSet:
        name = template_hash(deployment.spec.template)
        meta = deployment.metadata
        labels = {**(deployment.spec.template.metadata.labels or {}), TEMPLATE_LABEL: name}
        key = f"{meta.namespace or 'default'}/{meta.name}-{name}"
        found = self.store.find(ReplicaSet, key)
        if found is not None:
            return found
        template = msgspec.structs.replace(
            deployment.spec.template,
            metadata=msgspec.structs.replace(deployment.spec.template.metadata, labels=labels),
        )
        return self.store.apply(
            ReplicaSet(
                api_version="apps/v1",
                kind="ReplicaSet",
                metadata=ObjectMeta(
                    name=f"{meta.name}-{name}",
                    namespace=meta.namespace or "default",
                    labels=labels,
                    owner_references=[_owned(deployment)],
                ),
                spec=ReplicaSetSpec(
                    replicas=0, selector=LabelSelector(match_labels=labels), template=template
                ),
            )
        )

    def _scale(self, item: ReplicaSet, replicas: int) -> None:
        if item.spec.replicas != replicas:
            spec = msgspec.structs.replace(item.spec, replicas=replicas)
            self.store.apply(msgspec.structs.replace(item, spec=spec))


class ReplicaSetController:
    """Makes pods that are missing and deletes those that are too many."""

    def __init__(self, store: Store) -> None:
        """Work on a store."""
        self.store = store
        self._made = 0

    def sync(self, owner: ReplicaSet) -> list[Pod]:
        """Make what is missing; return the pods that are too many, to be deleted."""
        selector: Labels = owner.spec.selector.match_labels or {}
        pods = [
            pod
            for pod in self.store.cluster.pods
            if is_active(pod) and (is_owned(pod, owner) or self._adopts(owner, pod, selector))
        ]
        for _ in range(owner.spec.replicas - len(pods)):
            self._make(owner)
        return self._to_delete(pods, len(pods) - owner.spec.replicas)

    def _adopts(self, owner: ReplicaSet, pod: Pod, selector: Labels) -> bool:
        """Return whether a pod without an owner fits, as a static list of objects may have it."""
        same = (pod.metadata.namespace or "default") == (owner.metadata.namespace or "default")
        return same and not pod.metadata.owner_references and selects(selector, pod.metadata.labels)

    @staticmethod
    def _to_delete(pods: Sequence[Pod], count: int) -> list[Pod]:
        """Choose pods that are not ready first, then the youngest (ActivePodsWithRanks)."""
        age = {pod.key: number for number, pod in enumerate(pods)}
        ordered = sorted(pods, key=lambda pod: (pod.ready, -age[pod.key]))
        return ordered[: max(count, 0)]

    def _make(self, owner: ReplicaSet) -> None:
        self._made += 1
        template = owner.spec.template
        namespace = owner.metadata.namespace or "default"
        seed = f"{owner.key} {self._made}".encode()
        tail = "".join(LETTERS[octet % len(LETTERS)] for octet in hashlib.sha256(seed).digest()[:5])
        self.store.apply(
            Pod(
                api_version="v1",
                kind="Pod",
                metadata=ObjectMeta(
                    name=f"{owner.metadata.name}-{tail}",
                    namespace=namespace,
                    labels=template.metadata.labels,
                    annotations=template.metadata.annotations,
                    owner_references=[_owned(owner)],
                ),
                spec=template.spec,
                status=PodStatus(phase="Pending"),
            )
        )
