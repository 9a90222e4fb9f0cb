"""Which endpoints of a Service port a node uses.

Source: pkg/proxy/topology.go, CategorizeEndpoints (Kubernetes 1.30).
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from netemu.kube.proxy.version import ProxyVersion
from netemu.kube.service_ports import EndpointInfo, ServicePortInfo


class Categories(Struct, frozen=True, kw_only=True):
    """The endpoints of one Service port, as its rules need them."""

    cluster: list[EndpointInfo]
    """For traffic that may go anywhere; empty when there is none of it."""
    local: list[EndpointInfo]
    """For traffic that has to stay on the node; empty when there is none of it."""
    reachable: list[EndpointInfo]
    """Both, each endpoint once, sorted."""
    any: bool
    """Whether any node has an endpoint (hasAnyEndpoints)."""


def categorize_endpoints(
    endpoints: Sequence[EndpointInfo],
    port: ServicePortInfo,
    *,
    zone: str,
    version: ProxyVersion,
) -> Categories:
    """Sort endpoints into those for cluster-wide and those for local traffic.

    Ready endpoints come first; if there are none, those that still serve while they terminate.
    """

    def ends(item: EndpointInfo) -> bool:
        return version.serves_terminating and item.serving and item.terminating

    cluster: list[EndpointInfo] = []
    local: list[EndpointInfo] = []
    any_endpoints = False
    if port.uses_cluster_endpoints:
        use_hints = can_use_topology(
            endpoints, port, zone=zone, hints_need_annotation=version.hints_need_annotation
        )
        cluster = [
            item
            for item in endpoints
            if item.ready and (not use_hints or zone in (item.zones or ()))
        ]
        cluster = cluster or [item for item in endpoints if ends(item)]
        any_endpoints = bool(cluster)
    if not port.uses_local_endpoints:
        return Categories(cluster=cluster, local=[], reachable=cluster, any=any_endpoints)
    local = [item for item in endpoints if item.local and item.ready]
    local = local or [item for item in endpoints if item.local and ends(item)]
    any_endpoints = any_endpoints or any(item.ready or ends(item) for item in endpoints)
    if not port.uses_cluster_endpoints:
        return Categories(cluster=[], local=local, reachable=local, any=any_endpoints)
    union = {str(item): item for item in (*cluster, *local)}
    reachable = [union[name] for name in sorted(union)]
    return Categories(cluster=cluster, local=local, reachable=reachable, any=any_endpoints)


def can_use_topology(
    endpoints: Sequence[EndpointInfo],
    port: ServicePortInfo,
    *,
    zone: str,
    hints_need_annotation: bool,
) -> bool:
    """Return whether zone hints count (canUseTopology): all have them, and some name this zone."""
    if hints_need_annotation and not port.topology_hints:
        return False
    ready = [item for item in endpoints if item.ready]
    if not zone or any(not item.zones for item in ready):
        return False
    return any(zone in (item.zones or ()) for item in ready)
