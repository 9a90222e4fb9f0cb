"""Services and endpoints as one kube-proxy has them, kept up by what its watches tell.

Source: pkg/proxy/servicechangetracker.go, endpointschangetracker.go, endpointslicecache.go
(Kubernetes 1.30).
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct, field

from netemu.kube.objects import EndpointSlice, KubeObject, Service
from netemu.kube.proxy.version import ProxyVersion
from netemu.kube.service_ports import (
    EndpointInfo,
    PortKey,
    ServicePortInfo,
    endpoints_map,
    owner_of,
    service_ports,
)

Endpoints = dict[PortKey, list[EndpointInfo]]


class ServiceState(Struct, frozen=True, kw_only=True):
    """A Service's ports and their endpoints at some moment."""

    ports: tuple[ServicePortInfo, ...] = ()
    endpoints: Endpoints = field(default_factory=dict)


NOTHING = ServiceState()


class ProxyView:
    """All Services of a family, and what changed since somebody asked last."""

    __slots__ = ("_before", "_node_name", "_octets", "_slices", "_version", "services")

    def __init__(self, octets: int, node_name: str, version: ProxyVersion) -> None:
        """Know nothing yet; `node_name` is the node whose endpoints are local."""
        self._octets = octets
        self._node_name = node_name
        self._version = version
        self.services: dict[str, ServiceState] = {}
        """By `namespace/name`; one without ports may still have endpoints."""
        self._slices: dict[str, dict[str, EndpointSlice]] = {}
        """By Service, then by their own key."""
        self._before: dict[str, ServiceState] = {}

    def fill(self, objects: Iterable[KubeObject]) -> None:
        """Take up all objects at once, as the first list of a watch."""
        changed: set[str] = set()
        for item in objects:
            if isinstance(item, Service):
                self._set_service(item, gone=False)
            elif isinstance(item, EndpointSlice):
                owner = self._note_slice(item, gone=False)
                if owner:
                    changed.add(owner)
        for owner in changed:
            self._set_endpoints(owner)

    def told(self, item: KubeObject, *, gone: bool) -> bool:
        """Take up one object that is new, changed or gone; return whether it is of interest."""
        if isinstance(item, Service):
            self._set_service(item, gone=gone)
            return True
        if isinstance(item, EndpointSlice):
            owner = self._note_slice(item, gone=gone)
            if owner:
                self._set_endpoints(owner)
            return bool(owner)
        return False

    def take_changes(self) -> dict[str, ServiceState]:
        """Return what changed Services were when this was asked last."""
        found, self._before = self._before, {}
        return found

    def ports(self) -> list[ServicePortInfo]:
        """Return the ports of all Services."""
        return [port for state in self.services.values() for port in state.ports]

    def endpoints(self) -> Endpoints:
        """Return the endpoints of all Service ports."""
        return {
            key: items for state in self.services.values() for key, items in state.endpoints.items()
        }

    def _set_service(self, service: Service, *, gone: bool) -> None:
        key = _key(service.metadata.namespace, service.metadata.name)
        ports = () if gone else tuple(service_ports(service, self._octets, self._version))
        self._set(key, ServiceState(ports=ports, endpoints=self._state(key).endpoints))

    def _note_slice(self, item: EndpointSlice, *, gone: bool) -> str:
        """Keep a slice; return the Service that it belongs to."""
        owner = owner_of(item)
        if not owner:
            return ""
        slices = self._slices.setdefault(owner, {})
        if gone:
            slices.pop(item.key, None)
        else:
            slices[item.key] = item
        return owner

    def _set_endpoints(self, owner: str) -> None:
        slices = self._slices[owner].values()
        endpoints = endpoints_map(slices, self._octets, self._node_name)
        self._set(owner, ServiceState(ports=self._state(owner).ports, endpoints=endpoints))

    def _state(self, key: str) -> ServiceState:
        return self.services.get(key, NOTHING)

    def _set(self, key: str, state: ServiceState) -> None:
        before = self._state(key)
        if state == before:
            return
        self._before.setdefault(key, before)
        self.services[key] = state
        if state == NOTHING:
            del self.services[key]


def _key(namespace: str, name: str) -> str:
    return f"{namespace or 'default'}/{name}"
