"""The EndpointSlice controller: a Service's selector and the pods make its endpoints.

Source: staging/src/k8s.io/endpointslice/utils.go and reconciler.go (Kubernetes 1.30).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from netemu.kube.objects import (
    Endpoint,
    EndpointConditions,
    EndpointHints,
    EndpointPort,
    Endpoints,
    EndpointSlice,
    EndpointSubset,
    ForZone,
    Node,
    ObjectMeta,
    ObjectReference,
    Pod,
    Service,
    ServicePort,
)
from netemu.kube.service_ports import IPV4, IPV6, SERVICE_NAME_LABEL, is_family

HEADLESS_LABEL = "service.kubernetes.io/headless"
ZONE_LABEL = "topology.kubernetes.io/zone"
PREFER_CLOSE = "PreferClose"
"""Of trafficDistribution: each ready endpoint is meant for its own zone (trafficdist, 1.31)."""
SLICE_CAPACITY = 100
"""Endpoints of one slice (--max-endpoints-per-slice)."""

ADDRESS_TYPES = {IPV4: "IPv4", IPV6: "IPv6"}
FINISHED = ("Succeeded", "Failed")


def selects(selector: Mapping[str, str] | None, labels: Mapping[str, str] | None) -> bool:
    """Return whether all labels of a selector are there; an empty selector selects nothing."""
    if not selector:
        return False
    present = labels or {}
    return all(present.get(key) == value for key, value in selector.items())


def slices_of(service: Service, pods: Iterable[Pod], nodes: Iterable[Node]) -> list[EndpointSlice]:
    """Return the slices that the controller would make of a Service.

    Pods whose named target ports have other numbers stand in slices of their own. A Service
    without selector has none: its endpoints are made by hand.
    """
    namespace = service.metadata.namespace or "default"
    zones = {node.metadata.name: (node.metadata.labels or {}).get(ZONE_LABEL) for node in nodes}
    chosen = [
        pod
        for pod in pods
        if (pod.metadata.namespace or "default") == namespace
        and selects(service.spec.selector, pod.metadata.labels)
        and pod.ips
        and pod.status.phase not in FINISHED
    ]
    made: list[EndpointSlice] = []
    for octets, address_type in ADDRESS_TYPES.items():
        if not _has_family(service, octets):
            continue
        groups: dict[tuple[tuple[str, int, str], ...], list[Endpoint]] = {}
        for pod in chosen:
            ips = [ip for ip in pod.ips if is_family(ip, octets)]
            if ips:
                ports = tuple(_pod_ports(service.spec.ports or (), pod))
                endpoint = _endpoint(service, pod, ips[0], zones.get(pod.spec.node_name))
                groups.setdefault(ports, []).append(endpoint)
        for ports, endpoints in groups.items():
            for start in range(0, len(endpoints), SLICE_CAPACITY):
                part = endpoints[start : start + SLICE_CAPACITY]
                made.append(_slice(service, len(made) + 1, address_type, ports, part))
    return made


def _has_family(service: Service, octets: int) -> bool:
    """Return whether a Service serves a family; a headless one without ipFamilies serves IPv4."""
    spec = service.spec
    given = [ip for ip in spec.cluster_ips or [spec.cluster_ip] if ip not in {"", "None"}]
    if given:
        return any(is_family(ip, octets) for ip in given)
    return ADDRESS_TYPES[octets] in (spec.ip_families or ["IPv4"])


def _pod_ports(ports: Sequence[ServicePort], pod: Pod) -> Iterable[tuple[str, int, str]]:
    for port in ports:
        number = target_port(port, pod)
        if number:
            yield (port.name, number, port.protocol)


def target_port(port: ServicePort, pod: Pod) -> int:
    """Return the pod's port behind a Service port; 0 when the pod has no port of that name."""
    wanted = str(port.target_port or port.port)
    if wanted.isdigit():
        return int(wanted)
    sidecars = [item for item in pod.spec.init_containers or () if item.restart_policy == "Always"]
    named = (
        item for part in (*(pod.spec.containers or ()), *sidecars) for item in part.ports or ()
    )
    found = [item for item in named if item.name == wanted and item.protocol == port.protocol]
    return found[0].container_port if found else 0


def _endpoint(service: Service, pod: Pod, ip: str, zone: str | None) -> Endpoint:
    terminating = pod.metadata.deletion_timestamp is not None
    published = service.spec.publish_not_ready_addresses
    ready = published or (pod.ready and not terminating)
    close = service.spec.traffic_distribution == PREFER_CLOSE
    return Endpoint(
        addresses=[ip],
        hints=EndpointHints(for_zones=[ForZone(name=zone)]) if close and ready and zone else None,
        conditions=EndpointConditions(
            ready=ready,
            serving=pod.ready,
            terminating=terminating,
        ),
        hostname=pod.spec.hostname or None,
        node_name=pod.spec.node_name or None,
        zone=zone,
        target_ref=ObjectReference(
            kind="Pod", namespace=pod.metadata.namespace or "default", name=pod.metadata.name
        ),
    )


def _slice(
    service: Service,
    number: int,
    address_type: str,
    ports: Iterable[tuple[str, int, str]],
    endpoints: list[Endpoint],
) -> EndpointSlice:
    labels = {SERVICE_NAME_LABEL: service.metadata.name}
    if service.spec.cluster_ip == "None":
        labels[HEADLESS_LABEL] = ""
    return EndpointSlice(
        api_version="discovery.k8s.io/v1",
        kind="EndpointSlice",
        metadata=ObjectMeta(
            name=f"{service.metadata.name}-{number}",
            namespace=service.metadata.namespace or "default",
            labels=labels,
        ),
        address_type=address_type,
        ports=[EndpointPort(name=name, port=port, protocol=kind) for name, port, kind in ports],
        endpoints=endpoints,
    )


def mirrored(endpoints: Endpoints) -> list[EndpointSlice]:
    """Return the slices that the mirroring controller makes of an Endpoints object."""
    name = endpoints.metadata.name
    made: list[EndpointSlice] = []
    for subset in endpoints.subsets or ():
        for octets, address_type in ADDRESS_TYPES.items():
            items = list(_mirrored_endpoints(subset, octets))
            if items:
                made.append(
                    EndpointSlice(
                        api_version="discovery.k8s.io/v1",
                        kind="EndpointSlice",
                        metadata=ObjectMeta(
                            name=f"{name}-{len(made) + 1}",
                            namespace=endpoints.metadata.namespace or "default",
                            labels={SERVICE_NAME_LABEL: name},
                        ),
                        address_type=address_type,
                        ports=subset.ports,
                        endpoints=items,
                    )
                )
    return made


def _mirrored_endpoints(subset: EndpointSubset, octets: int) -> Iterable[Endpoint]:
    for addresses, ready in ((subset.addresses, True), (subset.not_ready_addresses, False)):
        for item in addresses or ():
            if is_family(item.ip, octets):
                yield Endpoint(
                    addresses=[item.ip],
                    conditions=EndpointConditions(ready=ready, serving=ready, terminating=False),
                    hostname=item.hostname or None,
                    node_name=item.node_name,
                    target_ref=item.target_ref,
                )
