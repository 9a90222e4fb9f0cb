"""The object store: what the API server keeps in etcd, with versions and watches.

Source: staging/src/k8s.io/apiserver/pkg/storage/interfaces.go (Kubernetes 1.30).

Every write gets the next resource version; watchers are told of it in the order in which they
began to watch. Writes that a watcher makes are told after the one that it was told of, so that all
watchers see one order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import StrEnum
from typing import TypeVar

import msgspec
from msgspec import Struct

from netemu.errors import UsageError
from netemu.kube.cluster import Cluster
from netemu.kube.objects import KINDS, KubeObject

Kind = TypeVar("Kind", bound=KubeObject)


class EventType(StrEnum):
    """What happened to an object."""

    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"


class WatchEvent(Struct, frozen=True, kw_only=True):
    """One change, as a watch tells it."""

    type: EventType
    object: KubeObject
    before: KubeObject | None = None
    """The object as it was; None when it is new."""


Watcher = Callable[[WatchEvent], None]


class Store:
    """All objects of a cluster."""

    __slots__ = ("_pending", "_revision", "_telling", "_watchers", "cluster")

    def __init__(self, cluster: Cluster | None = None) -> None:
        """Begin with the objects of a cluster, as version 1 and on."""
        self.cluster = Cluster()
        self._revision = 0
        self._watchers: list[Watcher] = []
        self._pending: deque[WatchEvent] = deque()
        self._telling = False
        if cluster is not None:
            self.cluster.notes = list(cluster.notes)
            for item in cluster.objects.values():
                self.apply(item)

    @property
    def revision(self) -> int:
        """The latest resource version."""
        return self._revision

    def watch(self, watcher: Watcher) -> None:
        """Tell all further changes; what is there already is told as ADDED, at once."""
        self._watchers.append(watcher)
        for item in list(self.cluster.objects.values()):
            watcher(WatchEvent(type=EventType.ADDED, object=item))

    def apply(self, item: Kind) -> Kind:
        """Create an object, or put it in the place of the one of its name; return what is kept.

        What changes nothing is no write. A kind without a name of its own is filled in.
        """
        kind = item.kind or next(name for name, type_ in KINDS.items() if type_ is type(item))
        before = self.cluster.objects.get((kind, item.key))
        version = before.metadata.resource_version if before is not None else ""
        meta = msgspec.structs.replace(item.metadata, resource_version=version)
        kept = msgspec.structs.replace(item, kind=kind, metadata=meta)
        if before is not None and kept == before:
            return kept
        self._revision += 1
        meta = msgspec.structs.replace(meta, resource_version=str(self._revision))
        kept = msgspec.structs.replace(kept, metadata=meta)
        self.cluster.objects[kind, kept.key] = kept
        type_ = EventType.ADDED if before is None else EventType.MODIFIED
        self._tell(WatchEvent(type=type_, object=kept, before=before))
        return kept

    def delete(self, item: KubeObject) -> None:
        """Remove an object; one that is gone already stays so."""
        gone = self.cluster.objects.pop((item.kind, item.key), None)
        if gone is not None:
            self._revision += 1
            self._tell(WatchEvent(type=EventType.DELETED, object=gone, before=gone))

    def find(self, kind: type[Kind], key: str) -> Kind | None:
        """Return an object by `namespace/name`, or None."""
        name = next(name for name, type_ in KINDS.items() if type_ is kind)
        found = self.cluster.objects.get((name, key))
        return found if isinstance(found, kind) else None

    def get(self, kind: type[Kind], key: str) -> Kind:
        """Return an object by `namespace/name`; raises UsageError when there is none."""
        found = self.find(kind, key)
        if found is None:
            known = ", ".join(item.key for item in self.cluster.all(kind)) or "none"
            raise UsageError(f"there is no {kind.__name__} {key}; there are {known}")
        return found

    def _tell(self, event: WatchEvent) -> None:
        self._pending.append(event)
        if self._telling:
            return
        self._telling = True
        try:
            while self._pending:
                told = self._pending.popleft()
                for watcher in self._watchers:
                    watcher(told)
        finally:
            self._telling = False
