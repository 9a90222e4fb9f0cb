"""Cluster DNS: what CoreDNS answers for the names of Services and pods.

Source: Kubernetes DNS-Based Service Discovery 1.1.0; search path as kubelet writes resolv.conf.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from netemu.kube.cluster import Cluster
from netemu.kube.objects import Endpoint, EndpointSlice, Service
from netemu.kube.service_ports import IPV4, IPV6, SERVICE_NAME_LABEL, is_family
from netemu.wire.address import parse_address

ZONE = "cluster.local"
NDOTS = 5
"""Names with fewer dots walk the search path first."""
VERSION = "1.1.0"
TTL_S = 30
"""CoreDNS' kubernetes plugin answers with 30 seconds as kubeadm sets it up."""

NOERROR, NXDOMAIN = "NOERROR", "NXDOMAIN"


class Record(Struct, frozen=True, kw_only=True):
    """One resource record."""

    name: str
    type: str
    """A, AAAA, SRV, PTR, CNAME or TXT."""
    data: str
    """An address, `PRIORITY WEIGHT PORT TARGET`, a name or a text."""

    def __str__(self) -> str:
        """Return it as a zone file has it."""
        return f"{self.name} {TTL_S} IN {self.type} {self.data}"


class Answer(Struct, frozen=True, kw_only=True):
    """What a query got."""

    question: str
    """The name that was asked for at last, with its dot at the end."""
    code: str
    """NOERROR or NXDOMAIN."""
    records: tuple[Record, ...] = ()


def search_path(namespace: str, zone: str = ZONE) -> list[str]:
    """Return the search line of a pod's resolv.conf (dnsPolicy ClusterFirst)."""
    return [f"{namespace}.svc.{zone}", f"svc.{zone}", zone]


def resolve(
    cluster: Cluster, name: str, type_: str = "A", *, namespace: str = "default"
) -> list[Answer]:
    """Return the answers that a pod's resolver gets, query by query, until one has records.

    A name with fewer than five dots is tried with each part of the search path first; one with a
    dot at its end is asked as it is.
    """
    answers: list[Answer] = []
    for question in questions(name, namespace=namespace):
        answers.append(query(cluster, question, type_))
        if answers[-1].records:
            break
    return answers


def questions(name: str, *, namespace: str = "default") -> list[str]:
    """Return the names that a pod's resolver asks for, until one is there.

    >>> questions("web.shop")[:2]
    ['web.shop.default.svc.cluster.local.', 'web.shop.svc.cluster.local.']
    """
    if name.endswith("."):
        return [name]
    searched = [f"{name}.{part}." for part in search_path(namespace)]
    return [f"{name}.", *searched] if name.count(".") >= NDOTS else [*searched, f"{name}."]


def query(cluster: Cluster, name: str, type_: str) -> Answer:
    """Return the answer to one question; `name` is absolute."""
    wanted = name.rstrip(".").lower()
    records = list(_records(cluster))
    here = [item for item in records if item.name.rstrip(".") == wanted]
    code = NOERROR if here or _exists_above(wanted, records) else NXDOMAIN
    matching = [item for item in here if item.type == type_]
    if not matching and type_ in {"A", "AAAA"}:
        matching = [item for item in here if item.type == "CNAME"]
    return Answer(question=f"{wanted}.", code=code, records=tuple(matching))


def _exists_above(name: str, records: list[Record]) -> bool:
    """Return whether a name has names below it, so that it is empty but there."""
    return any(item.name.rstrip(".").endswith(f".{name}") for item in records)


def _records(cluster: Cluster) -> Iterator[Record]:
    yield Record(name=f"dns-version.{ZONE}.", type="TXT", data=f'"{VERSION}"')
    for service in cluster.services:
        yield from _service_records(cluster, service)


def _service_records(cluster: Cluster, service: Service) -> Iterator[Record]:
    namespace = service.metadata.namespace or "default"
    name = f"{service.metadata.name}.{namespace}.svc.{ZONE}."
    spec = service.spec
    if spec.type == "ExternalName":
        yield Record(name=name, type="CNAME", data=f"{spec.external_name.rstrip('.')}.")
        return
    if spec.cluster_ip == "None":
        yield from _headless_records(cluster, service, name)
        return
    for ip in spec.cluster_ips or [spec.cluster_ip]:
        if is_family(ip, IPV4) or is_family(ip, IPV6):
            yield Record(name=name, type=_address_type(ip), data=ip)
            yield Record(name=reverse_name(ip), type="PTR", data=name)
    for port in spec.ports or ():
        if port.name:
            yield Record(
                name=f"_{port.name}._{port.protocol.lower()}.{name}",
                type="SRV",
                data=f"0 100 {port.port} {name}",
            )


def _headless_records(cluster: Cluster, service: Service, name: str) -> Iterator[Record]:
    """Return one address per ready endpoint, and a name of its own for each."""
    for slice_ in _slices_of(cluster, service):
        for endpoint in slice_.endpoints or ():
            if endpoint.conditions.ready is False or not endpoint.addresses:
                continue
            ip = endpoint.addresses[0]
            own = f"{_host(endpoint)}.{name}"
            yield Record(name=name, type=_address_type(ip), data=ip)
            yield Record(name=own, type=_address_type(ip), data=ip)
            yield Record(name=reverse_name(ip), type="PTR", data=own)
            for port in slice_.ports or ():
                if port.name and port.port:
                    yield Record(
                        name=f"_{port.name}._{port.protocol.lower()}.{name}",
                        type="SRV",
                        data=f"0 100 {port.port} {own}",
                    )


def _slices_of(cluster: Cluster, service: Service) -> list[EndpointSlice]:
    namespace = service.metadata.namespace or "default"
    return [
        item
        for item in cluster.slices
        if (item.metadata.namespace or "default") == namespace
        and (item.metadata.labels or {}).get(SERVICE_NAME_LABEL) == service.metadata.name
    ]


def _host(endpoint: Endpoint) -> str:
    """Return an endpoint's own label: its hostname, or its address with dashes."""
    return endpoint.hostname or endpoint.addresses[0].replace(".", "-").replace(":", "-")


def _address_type(ip: str) -> str:
    return "A" if is_family(ip, IPV4) else "AAAA"


def reverse_name(ip: str) -> str:
    """Return the name that a PTR record has.

    >>> reverse_name("10.96.0.10")
    '10.0.96.10.in-addr.arpa.'
    """
    address = parse_address(ip)
    if len(address) == IPV4:
        return ".".join(str(octet) for octet in reversed(address)) + ".in-addr.arpa."
    return ".".join(reversed(address.hex())) + ".ip6.arpa."
