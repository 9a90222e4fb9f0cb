"""The objects of a cluster, by kind and name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from msgspec import Struct, field

from netemu.errors import InputError
from netemu.kube.objects import (
    EndpointSlice,
    KubeObject,
    KubeProxyConfiguration,
    Node,
    Pod,
    Service,
)

Kind = TypeVar("Kind", bound=KubeObject)


class Cluster(Struct):
    """What was given, in the order of the input; of two objects of one name the later counts."""

    objects: dict[tuple[str, str], KubeObject] = field(default_factory=dict)
    """By kind and key."""
    notes: list[str] = field(default_factory=list)
    """One sentence each: what was missing, and what stands in for it."""

    def add(self, objects: Iterable[KubeObject]) -> None:
        """Take objects up."""
        for item in objects:
            self.objects[item.kind, item.key] = item

    def all(self, kind: type[Kind]) -> list[Kind]:
        """Return all objects of a kind."""
        return [item for item in self.objects.values() if isinstance(item, kind)]

    @property
    def services(self) -> list[Service]:
        """Return all Services."""
        return self.all(Service)

    @property
    def slices(self) -> list[EndpointSlice]:
        """Return all EndpointSlices."""
        return self.all(EndpointSlice)

    @property
    def pods(self) -> list[Pod]:
        """Return all pods."""
        return self.all(Pod)

    @property
    def nodes(self) -> list[Node]:
        """Return all nodes."""
        return self.all(Node)

    def node(self, name: str) -> Node:
        """Return a node by its name; raises InputError when there is none."""
        for node in self.nodes:
            if node.metadata.name == name:
                return node
        known = ", ".join(node.metadata.name for node in self.nodes) or "none"
        raise InputError(f"there is no node {name!r}; the objects have {known}")

    def node_of(self, address: str) -> str:
        """Return the name of the node that has an address; empty when none has."""
        for node in self.nodes:
            if any(item.address == address for item in node.status.addresses or ()):
                return node.metadata.name
        return ""

    def proxy_config(self) -> KubeProxyConfiguration:
        """Return kube-proxy's configuration; its defaults when none was given."""
        found = self.all(KubeProxyConfiguration)
        return found[-1] if found else KubeProxyConfiguration()
