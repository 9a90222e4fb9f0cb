"""An ingress controller as a model: which Service a request's host and path lead to.

Source: the Ingress API (networking.k8s.io/v1), as its reference describes matching.

Theory of operation: a rule with the request's very host goes before one with a wildcard, which
stands for one label, and that before a rule without a host. Of a host's paths an exact one goes
before prefixes, a longer prefix before a shorter one; prefixes go by whole elements of the path.
`ImplementationSpecific` is taken as a prefix. What no path takes gets the default backend of an
Ingress, else the controller answers 404 itself. TLS ends at the controller and changes no choice.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from netemu.kube.cluster import Cluster
from netemu.kube.objects import Ingress, IngressBackend, Service

EXACT = "Exact"


class Choice(Struct, frozen=True, kw_only=True):
    """What a request comes to."""

    ingress: Ingress
    host: str
    """The rule's host; empty for any."""
    path: str
    """The rule's path; empty for a default backend."""
    path_type: str
    backend: IngressBackend

    @property
    def service(self) -> str:
        """`namespace/name` of the Service; empty for a backend that is none."""
        found = self.backend.service
        return f"{self.ingress.metadata.namespace or 'default'}/{found.name}" if found else ""

    @property
    def port(self) -> str:
        """The Service's port, by name or number."""
        found = self.backend.service
        return (found.port.name or str(found.port.number)) if found else ""

    @property
    def has_tls(self) -> bool:
        """Whether the Ingress has a certificate for some host."""
        return bool(self.ingress.spec.tls)


def choose(cluster: Cluster, host: str, path: str) -> Choice | None:
    """Return where a request goes; None when the controller answers 404.

    Of equal rules the first one given counts, as the oldest does for a controller.
    """
    found = [
        item for item in _paths(cluster) if _host_fits(item.host, host) and _path_fits(item, path)
    ]
    if found:
        return min(found, key=_rank)
    return next(_defaults(cluster), None)


def controller_service(cluster: Cluster, ingress: Ingress) -> tuple[Service, str] | None:
    """Return the Service whose load balancer's address the Ingress has, and the address."""
    addresses = [item.ip for item in ingress.status.load_balancer.ingress or () if item.ip]
    for service in cluster.services:
        for item in service.status.load_balancer.ingress or ():
            if item.ip and item.ip in addresses:
                return service, item.ip
    return None


def _paths(cluster: Cluster) -> Iterator[Choice]:
    for ingress in cluster.all(Ingress):
        for rule in ingress.spec.rules or ():
            for item in rule.http.paths if rule.http is not None else ():
                yield Choice(
                    ingress=ingress,
                    host=rule.host,
                    path=item.path or "/",
                    path_type=item.path_type,
                    backend=item.backend,
                )


def _defaults(cluster: Cluster) -> Iterator[Choice]:
    for ingress in cluster.all(Ingress):
        backend = ingress.spec.default_backend
        if backend is not None:
            yield Choice(ingress=ingress, host="", path="", path_type="", backend=backend)


def _host_fits(rule: str, host: str) -> bool:
    """Return whether a rule's host takes a request's.

    >>> [_host_fits("*.example.org", host) for host in ("a.example.org", "a.b.example.org")]
    [True, False]
    """
    rule, host = rule.lower(), host.lower()
    if rule.startswith("*."):
        return host.partition(".")[2] == rule[2:]
    return rule in {"", host}


def _path_fits(item: Choice, path: str) -> bool:
    if item.path_type == EXACT:
        return path == item.path
    return prefix_fits(item.path, path)


def prefix_fits(prefix: str, path: str) -> bool:
    """Return whether a path begins with the elements of a prefix.

    >>> [prefix_fits("/shop", path) for path in ("/shop", "/shop/", "/shop/cart", "/shopping")]
    [True, True, True, False]
    >>> prefix_fits("/", "/any")
    True
    """
    wanted = prefix.rstrip("/")
    return path == wanted or path.startswith(f"{wanted}/")


def _rank(item: Choice) -> tuple[int, int, int]:
    """Return what orders rules that fit: the best one is the least."""
    host = 2 if not item.host else 1 if item.host.startswith("*.") else 0
    return host, item.path_type != EXACT, -len(item.path.rstrip("/"))
