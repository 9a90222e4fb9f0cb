"""Ingress controllers in a cluster that runs: pods that hand HTTP requests to Services.

A pod is one where the Service whose load balancer's address an Ingress has selects it.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from msgspec import Struct

from netemu.errors import UsageError
from netemu.kube.cluster import Cluster
from netemu.kube.controllers.endpointslice import selects
from netemu.kube.ingress import choose, controller_service
from netemu.kube.objects import Ingress, Pod
from netemu.kube.service_ports import IPV4, service_ports
from netemu.wire.address import parse_address

HTTP = "http://"


class Request(Struct, frozen=True, kw_only=True):
    """What a client asks of an ingress controller, and where that is."""

    address: str
    port: int
    host: str
    path: str


def is_controller(cluster: Cluster, pod: Pod) -> bool:
    """Return whether a pod is an ingress controller."""
    known = [controller_service(cluster, item) for item in cluster.all(Ingress)]
    return any(
        item is not None and selects(item[0].spec.selector, pod.metadata.labels) for item in known
    )


def server_for(cluster: Cluster, host: str, path: str) -> tuple[bytes, int] | None:
    """Return the ClusterIP and port that a request goes to; None for none."""
    choice = choose(cluster, host, path)
    if choice is None:
        return None
    for service in cluster.services:
        for info in service_ports(service, IPV4):
            here = f"{info.namespace}/{info.service}" == choice.service
            if here and choice.port in {info.port_name, str(info.port)}:
                return parse_address(info.cluster_ip), info.port
    return None


def request_for(cluster: Cluster, url: str) -> Request:
    """Return what a client of a URL asks, at the address of the first Ingress with a controller.

    Raises UsageError for a URL without host, or where no controller is known.
    """
    parts = urlsplit(url)
    if not parts.hostname:
        raise UsageError(f"{url}: a host is needed, as in http://shop.example/cart")
    for ingress in cluster.all(Ingress):
        known = controller_service(cluster, ingress)
        if known is not None:
            return Request(
                address=known[1],
                port=parts.port or 80,
                host=parts.hostname,
                path=parts.path or "/",
            )
    raise UsageError(f"{url}: no Service has the address of an Ingress, so no controller is known")
