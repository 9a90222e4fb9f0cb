"""Who is who among chains, addresses and endpoints, for messages and for packets to try."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct, field

from netemu.kube.check.fault import NODE, Probe, Sender
from netemu.kube.check.reading import split_endpoint
from netemu.kube.cluster import Cluster
from netemu.kube.proxy.iptables import PortChains, endpoint_chain
from netemu.kube.service_ports import (
    EndpointInfo,
    PortKey,
    ServicePortInfo,
    endpoints_map,
    port_key,
    service_ports,
)


class Services(Struct, kw_only=True):
    """The Service ports of one family as one node's proxy sees them."""

    ports: list[ServicePortInfo] = field(default_factory=list)
    endpoints: dict[PortKey, list[EndpointInfo]] = field(default_factory=dict)
    """All of them, ready or not."""
    pods: dict[str, str] = field(default_factory=dict)
    """Address -> `namespace/name`."""
    by_chain: dict[str, ServicePortInfo] = field(default_factory=dict)
    """The Service port of a chain, its endpoints' chains included."""
    by_name: dict[tuple[str, str], ServicePortInfo] = field(default_factory=dict)
    """By name and protocol."""

    @classmethod
    def of(cls, cluster: Cluster, octets: int, node_name: str) -> Services:
        """Look through a cluster's objects."""
        found = cls(
            ports=[port for item in cluster.services for port in service_ports(item, octets)],
            endpoints=endpoints_map(cluster.slices, octets, node_name),
            pods={
                ip: f"{pod.metadata.namespace or 'default'}/{pod.metadata.name}"
                for pod in cluster.pods
                if not pod.spec.host_network
                for ip in pod.ips
            },
        )
        for port in found.ports:
            found.by_name[port.name, port.protocol] = port
            chains = PortChains.of(port)
            names = [chains.cluster, chains.local, chains.external, chains.firewall]
            names += [endpoint_chain(port, item) for item in found.of_port(port)]
            found.by_chain.update(dict.fromkeys(names, port))
        return found

    def of_port(self, port: ServicePortInfo) -> list[EndpointInfo]:
        """Return all endpoints of a Service port."""
        return self.endpoints.get(port_key(port), [])

    def find(self, name: str, protocol: str = "") -> ServicePortInfo | None:
        """Return the port of a name, and of a protocol if one is told."""
        if protocol:
            return self.by_name.get((name, protocol))
        return next((port for port in self.ports if port.name == name), None)

    def endpoint(self, port: ServicePortInfo, endpoint: str) -> EndpointInfo | None:
        """Return an endpoint of a port by its `IP:port`."""
        return next((item for item in self.of_port(port) if str(item) == endpoint), None)

    def told(self, endpoint: str, port: ServicePortInfo | None = None) -> str:
        """Return `IP:port`, with its pod where one is known."""
        ip, _ = split_endpoint(endpoint)
        known = self.endpoint(port, endpoint) if port is not None else None
        pod = (known.target if known is not None else "") or self.pods.get(ip, "")
        return f"{endpoint} (pod {pod})" if pod else endpoint

    def reason(self, port: ServicePortInfo, endpoint: str) -> str:
        """Say why a port's traffic is not for `IP:port`."""
        known = self.endpoint(port, endpoint)
        if known is None:
            ip, number = split_endpoint(endpoint)
            others = [item for item in self.of_port(port) if item.ip == ip]
            if others:
                return f"whose port is {others[0].port}, not {number}"
            return "which is no endpoint of it"
        if known.terminating:
            return "which is terminating"
        if not known.ready:
            return "which is not ready"
        return "which another zone is to use"


def inside(port: ServicePortInfo) -> tuple[Probe, ...]:
    """Return packets to a port's ClusterIP."""
    return _to(port, port.cluster_ip, port.port, (Sender.POD, Sender.NODE, Sender.OUTSIDE))


def outside(port: ServicePortInfo) -> tuple[Probe, ...]:
    """Return packets to what leads to a port from outside."""
    senders = (Sender.OUTSIDE, Sender.POD, Sender.NODE)
    found: list[Probe] = []
    for ip in (*port.load_balancer_ips, *port.external_ips):
        found += _to(port, ip, port.port, senders)
    if port.node_port:
        found += _to(port, NODE, port.node_port, senders)
    return tuple(found)


def everywhere(port: ServicePortInfo) -> tuple[Probe, ...]:
    """Return packets to all that leads to a port."""
    return (*inside(port), *outside(port))


def _to(
    port: ServicePortInfo, ip: str, number: int, senders: Iterable[Sender]
) -> tuple[Probe, ...]:
    return tuple(
        Probe(sender=sender, protocol=port.protocol, destination=ip, port=number)
        for sender in senders
    )
