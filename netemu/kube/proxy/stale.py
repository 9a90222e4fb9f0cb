"""Connections of UDP that lead to where no Service leads any more, which kube-proxy forgets.

Source: pkg/proxy/conntrack/cleanup.go (Kubernetes 1.30 and 1.32), pkg/proxy/userspace/proxier.go
(1.20).

A client that goes on sending keeps its connection alive for ever, so that without this it would
never meet the new rules. Up to 1.31 what changed is looked at, and conntrack(8) is called for
each; from 1.32 on the whole table is compared with the endpoints there are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec import Struct, field

from netemu.kube.proxy.settings import ProxySettings
from netemu.kube.proxy.view import NOTHING, ProxyView, ServiceState
from netemu.kube.service_ports import ServicePortInfo, port_key

UDP = "udp"

IsStale = Callable[[str, int, str, int], bool]
"""(original destination, its port, source of replies, its port) -> whether kube-proxy forgets it;
the last two are those of the endpoint where a connection is translated."""


class _Deletions(Struct):
    """The calls of `conntrack -D -p udp` that a sync makes."""

    addresses: set[str] = field(default_factory=set)
    """--orig-dst ADDRESS."""
    node_ports: set[int] = field(default_factory=set)
    """--dport PORT."""
    translated: set[tuple[str, str]] = field(default_factory=set)
    """--orig-dst ADDRESS --dst-nat ENDPOINT."""
    node_ports_translated: set[tuple[int, str]] = field(default_factory=set)
    """--dport PORT --dst-nat ENDPOINT."""

    def hold(self, address: str, port: int, endpoint: str, endpoint_port: int) -> bool:
        """Return whether one of the calls is about a connection."""
        del endpoint_port
        return (
            address in self.addresses
            or port in self.node_ports
            or (address, endpoint) in self.translated
            or (port, endpoint) in self.node_ports_translated
        )


def addresses_of(port: ServicePortInfo) -> tuple[str, ...]:
    """Return the addresses that a Service port answers at."""
    return (port.cluster_ip, *port.external_ips, *port.load_balancer_ips)


def serving(state: ServiceState, port: ServicePortInfo) -> dict[str, str]:
    """Return the endpoints that connections are sent to: `IP:port` -> address."""
    return {
        str(item): item.ip
        for item in state.endpoints.get(port_key(port), [])
        if item.ready or item.serving
    }


def stale_udp(
    settings: ProxySettings, view: ProxyView, before: Mapping[str, ServiceState]
) -> IsStale | None:
    """Return what a sync of iptables or IPVS mode forgets; None for nothing.

    `before` tells what changed Services were at the last sync.
    """
    touched = any(
        port.protocol == UDP
        for key, old in before.items()
        for port in (*old.ports, *view.services.get(key, NOTHING).ports)
    )
    if not touched:
        return None
    if settings.version.reconciles_conntrack:
        return _unlike_the_endpoints(settings, view)
    found = _Deletions()
    for key, old in before.items():
        new = view.services.get(key, NOTHING)
        kept = {port_key(port): port for port in new.ports}
        for port in old.ports:
            if port.protocol == UDP and port_key(port) not in kept:
                found.addresses.update(addresses_of(port))
        known = {port_key(port): port for port in old.ports}
        for name, port in {**known, **kept}.items():
            if port.protocol == UDP:
                _compare(found, port, serving(old, port), serving(new, port))
                if name not in kept:
                    continue
                if serving(new, port) and not serving(old, port):
                    found.addresses.update(addresses_of(port))
                    found.node_ports.update([port.node_port] if port.node_port else [])
    return found.hold


def _compare(
    found: _Deletions, port: ServicePortInfo, old: Mapping[str, str], new: Mapping[str, str]
) -> None:
    for name, ip in old.items():
        if name not in new:
            found.translated.update((address, ip) for address in addresses_of(port))
            if port.node_port:
                found.node_ports_translated.add((port.node_port, ip))


def _unlike_the_endpoints(settings: ProxySettings, view: ProxyView) -> IsStale:
    """Return whether a connection to a Service port leads to none of its endpoints."""
    by_address: dict[tuple[str, int], Mapping[str, str]] = {}
    by_node_port: dict[int, Mapping[str, str]] = {}
    for state in view.services.values():
        for port in state.ports:
            endpoints = serving(state, port)
            if port.protocol == UDP and endpoints:
                for address in addresses_of(port):
                    by_address[address, port.port] = endpoints
                if port.node_port:
                    by_node_port[port.node_port] = endpoints
    local = set(settings.local_ips)

    def is_stale(address: str, port: int, endpoint: str, endpoint_port: int) -> bool:
        known = by_address.get((address, port))
        if known is None and address in local:
            known = by_node_port.get(port)
        return known is not None and f"{endpoint}:{endpoint_port}" not in known

    return is_stale


def stale_udp_of_userspace(view: ProxyView, before: Mapping[str, ServiceState]) -> IsStale | None:
    """Return what the userspace proxy forgets: connections to Services that are gone."""
    found = _Deletions()
    for key, old in before.items():
        kept = {port_key(port) for port in view.services.get(key, NOTHING).ports}
        for port in old.ports:
            if port.protocol == UDP and port_key(port) not in kept:
                found.addresses.update(addresses_of(port))
                found.node_ports.update([port.node_port] if port.node_port else [])
    return found.hold if found.addresses or found.node_ports else None
