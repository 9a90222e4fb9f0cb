"""`netemu kube reach`: who gets to a Service at which node, and whose address its pods see."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator, Sequence
from functools import partial
from ipaddress import ip_network

import click
from msgspec import Struct
from msgspec.structs import asdict, replace

from netemu.cli.branches import can_fork, in_child
from netemu.cli.common import KERNELS, say_notes
from netemu.cli.kube_objects import ObjectSource, object_source
from netemu.cli.kube_walk import (
    Destination,
    Sender,
    WalkOptions,
    entry_of,
    own_source,
    proxied_endpoint,
)
from netemu.cli.tracing import run_passage
from netemu.errors import InputError, UsageError
from netemu.kube.balancer import balancer_at
from netemu.kube.cluster import Cluster
from netemu.kube.objects import Ingress, Service
from netemu.kube.proxy.render import MODES, Rendered, render
from netemu.kube.service_ports import (
    IPV4,
    EndpointInfo,
    ServicePortInfo,
    endpoints_map,
    is_family,
    port_key,
    service_ports,
    without_address,
)
from netemu.kube.topology import categorize_endpoints
from netemu.sim.node import Node, build_node
from netemu.sim.probe import run_branch
from netemu.snapshot.kube_node import ClusterNode, cluster_node, pod_places

OUTSIDE_ADDRESS = "203.0.113.254"
"""Who asks from outside: an address of RFC 5737 TEST-NET-3."""
NODE_PORT, EXTERNAL_IP, LOAD_BALANCER = "node port", "external IP", "load balancer"
OUTSIDE, POD, NODE, LOOPBACK = "outside", "a pod", "the node", "127.0.0.1"
SOURCES = (OUTSIDE, POD, NODE, LOOPBACK)
LOCALHOST = "127.0.0.1"


class Reach(Struct, frozen=True, kw_only=True):
    """What became of one question: a source, a node, a way to a Service port."""

    service: str
    """`namespace/name`, with `:port` if the port has a name."""
    protocol: str
    way: str
    address: str
    port: int
    node: str
    source: str
    source_address: str
    verdict: str
    reason: str
    endpoints: tuple[str, ...]
    """`IP:port` of those that may answer."""
    client_address_kept: bool | None
    """Whether endpoints see who asks; None when nobody answers."""

    @property
    def cell(self) -> str:
        """A few words for a table."""
        if self.client_address_kept is not None:
            return f"{len(self.endpoints)} {'kept' if self.client_address_kept else 'replaced'}"
        if self.reason == "NO_SOCKET":
            return "nobody"
        return {"REJECT": "refused", "DROP": "dropped"}.get(self.verdict, "passes by")


@click.command("reach")
@object_source
@click.option("--service", "wanted", metavar="NAME", multiple=True, help="This Service alone.")
@click.option(
    "--from",
    "source",
    metavar="IP",
    default=OUTSIDE_ADDRESS,
    show_default=True,
    help="The address that asks from outside.",
)
@click.option("--mode", type=click.Choice(MODES), help="kube-proxy's mode [as configured].")
@click.option("--proxy-version", "version", metavar="V", help="kube-proxy's version [1.30].")
@click.option("--json", "as_json", is_flag=True, help="Print a list of JSON objects.")
def command(
    objects: ObjectSource,
    wanted: tuple[str, ...],
    source: str,
    mode: str | None,
    version: str | None,
    as_json: bool,
) -> int:
    """Tell which nodes answer for a Service from outside, and whether the client's address is kept.

    Every number is a packet's walk: how many endpoints may answer it, and whether they see the
    client's address (kept) or the node's (replaced).
    """
    if not is_family(source, IPV4):
        raise UsageError(f"--from {source}: this is no IPv4 address; write {OUTSIDE_ADDRESS}")
    cluster = objects.read()
    if not cluster.nodes:
        raise InputError("the objects have no Node, so nothing can be reached")
    services = _services(cluster, wanted)
    asker = _Asker(cluster, mode or cluster.proxy_config().mode or "iptables", version, source)
    found = [item for node in cluster.nodes for item in asker.ask(node.metadata.name, services)]
    if as_json:
        click.echo(json.dumps([asdict(item) for item in found], indent=1))
    else:
        click.echo("\n".join(_text(cluster, services, found, asker.pods_known)))
    say_notes([*cluster.notes, *without_address(services)])
    return 0


def _services(cluster: Cluster, wanted: Sequence[str]) -> list[Service]:
    if not wanted:
        return cluster.services
    by_key = {_key(service): service for service in cluster.services}
    found = []
    for name in wanted:
        key = name if "/" in name else f"default/{name}"
        if key not in by_key:
            known = ", ".join(list(by_key)[:8]) or "none"
            raise UsageError(
                f"--service {name}: there is no Service {key}; the objects have {known}"
            )
        found.append(by_key[key])
    return found


def _key(service: Service) -> str:
    return f"{service.metadata.namespace or 'default'}/{service.metadata.name}"


# --- Asking ---------------------------------------------------------------------------------------


class _Question(Struct, frozen=True, kw_only=True):
    """One packet to be sent."""

    info: ServicePortInfo
    way: str
    target: Destination
    source: str
    sender: Sender


class _Result(Struct, frozen=True):
    """What became of it."""

    source: str
    verdict: str
    reason: str
    endpoint: str | None
    kept: bool


class _Asker:
    """Sends packets through one node after the other."""

    def __init__(self, cluster: Cluster, mode: str, version: str | None, outside: str) -> None:
        self.cluster = cluster
        self.mode = mode
        self.version = version
        self.outside = outside
        self.pods_known = False
        """Whether some node has an address to ask from as a pod."""

    def ask(self, node: str, services: Sequence[Service]) -> Iterator[Reach]:
        """Yield what becomes of every question at one node."""
        rendered = render(self.cluster, node, self.mode, version=self.version)
        questions = list(self._questions(rendered, services))
        wanted = {item.sender.ip for item in questions} | {item.target.ip for item in questions}
        made = cluster_node(self.cluster, rendered, wanted=wanted)
        endpoints = endpoints_map(self.cluster.slices, IPV4, node)
        built = self._build(made)
        gc.freeze()
        for item in questions:
            # each packet meets the node as it was: in a copy, or where there is none, built anew
            walk = partial(self._walk, made, item)
            result = in_child(partial(walk, built)) if can_fork() else walk(self._build(made))
            usable = self._usable(rendered, item, endpoints.get(port_key(item.info), []))
            yield _reach(item, node, result, usable)

    def _build(self, made: ClusterNode) -> Node:
        node = build_node(made.spec, seed=0)
        node.assume_neighbours()
        return node

    def _walk(self, made: ClusterNode, item: _Question, node: Node) -> _Result:
        """Send a packet; one of the node's own has the source that its kernel chooses."""
        sender = item.sender
        if item.source == NODE:
            sender = Sender(ip=own_source(node, item.target.ip) or sender.ip, node="")
        options = WalkOptions(
            cluster=self.cluster,
            node=made.rendered.settings.node_name,
            sender=sender,
            destination=item.target,
            version=self.version,
            octets=IPV4,
            seed=0,
            kernel=KERNELS[0],
            with_outcomes=False,
        )
        entry = entry_of(options, made, node)
        if self.mode == "userspace":
            passage = run_passage(node, entry)
            endpoint = proxied_endpoint(made.rendered, passage)
            return _Result(sender.ip, passage.verdict, passage.reason, endpoint, kept=False)
        branch = run_branch(node, entry, ())
        verdict, dnat, _, masquerade, _ = branch.result
        endpoint = dnat if verdict == "ACCEPT" else None
        return _Result(sender.ip, verdict, branch.reason, endpoint, kept=not masquerade)

    def _questions(self, rendered: Rendered, services: Sequence[Service]) -> Iterator[_Question]:
        """Yield every way to every Service port, from everywhere."""
        settings = rendered.settings
        senders = {
            OUTSIDE: Sender(ip=self.outside, node=""),
            NODE: Sender(ip=settings.node_ip, node=""),
        }
        pod = self._pod(settings.node_name)
        if pod:
            self.pods_known = True
            senders[POD] = Sender(ip=pod, node=settings.node_name)
        for service in services:
            for info in service_ports(service, IPV4, settings.version):
                for way, ip, port in _ways(info, settings.node_ip):
                    target = Destination(ip=ip, port=port, protocol=info.protocol)
                    for source, sender in senders.items():
                        yield _Question(
                            info=info, way=way, target=target, source=source, sender=sender
                        )
                    if way == NODE_PORT:
                        local = replace(target, ip=LOCALHOST)
                        sender = Sender(ip=LOCALHOST, node="")
                        yield _Question(
                            info=info, way=way, target=local, source=LOOPBACK, sender=sender
                        )

    def _pod(self, node_name: str) -> str:
        """Return an address to ask from as a pod of a node; empty when none is known."""
        places = pod_places(self.cluster, IPV4)
        spec = self.cluster.node(node_name).spec
        ranges = [text for text in spec.pod_cidrs or [spec.pod_cidr] if text and ":" not in text]
        if ranges:
            hosts = ip_network(ranges[0], strict=False)
            free = (str(hosts[-2 - number]) for number in range(hosts.num_addresses - 3))
            return next((ip for ip in free if ip not in places), "")
        return next((ip for ip, place in places.items() if place.node == node_name), "")

    def _usable(
        self, rendered: Rendered, item: _Question, endpoints: Sequence[EndpointInfo]
    ) -> list[str]:
        """Return the endpoints that may answer: of IPVS mode as the virtual server has them."""
        settings, info = rendered.settings, item.info
        if self.mode == "userspace":
            return [str(endpoint) for endpoint in endpoints if endpoint.ready]
        found = categorize_endpoints(endpoints, info, zone=settings.zone, version=settings.version)
        chosen = found.cluster
        if info.external_policy_local and self.mode == "ipvs":
            chosen = found.local or found.cluster
        elif info.external_policy_local and item.source == OUTSIDE:
            chosen = found.local
        return [str(endpoint) for endpoint in chosen]


def _ways(info: ServicePortInfo, node_ip: str) -> Iterator[tuple[str, str, int]]:
    """Yield what leads to a Service port from outside: the way, the address, the port."""
    if info.node_port:
        yield NODE_PORT, node_ip, info.node_port
    for ip in info.external_ips:
        yield EXTERNAL_IP, ip, info.port
    for ip in info.load_balancer_ips:
        yield LOAD_BALANCER, ip, info.port


def _reach(item: _Question, node: str, result: _Result, usable: list[str]) -> Reach:
    endpoint = result.endpoint
    answered = endpoint is not None
    chosen = usable if endpoint in usable else [endpoint] * answered
    return Reach(
        service=item.info.name,
        protocol=item.info.protocol,
        way=item.way,
        address=item.target.ip,
        port=item.target.port,
        node=node,
        source=item.source,
        source_address=result.source,
        verdict=result.verdict,
        reason=result.reason,
        endpoints=tuple(name for name in chosen if name is not None) if answered else (),
        client_address_kept=result.kept if answered else None,
    )


# --- Telling --------------------------------------------------------------------------------------


def _text(
    cluster: Cluster, services: Sequence[Service], found: Sequence[Reach], pods_known: bool
) -> Iterator[str]:
    """Yield the lines: a table for each way to each Service port, then what has no way."""
    by_way: dict[tuple[str, str, str, int], list[Reach]] = {}
    for item in found:
        address = "" if item.way == NODE_PORT else item.address
        by_way.setdefault((item.service, item.way, address, item.port), []).append(item)
    sources = [source for source in SOURCES if source != POD or pods_known]
    before = ""
    for (service, way, address, port), items in sorted(by_way.items()):
        if service != before:
            yield from ([""] if before else [])
            yield f"{service}  {_policy(cluster, service)}"
        before = service
        protocol = items[0].protocol
        yield f"  {way} {address + ':' if address else ''}{port}/{protocol}"
        width = max(len(item.node) for item in items)
        columns = [source for source in sources if any(item.source == source for item in items)]
        yield "    " + " " * width + "".join(f"  {source:<12}" for source in columns).rstrip()
        for node in dict.fromkeys(item.node for item in items):
            cells = {item.source: item.cell for item in items if item.node == node}
            row = "".join(f"  {cells.get(source, ''):<12}" for source in columns)
            yield f"    {node:<{width}}{row}".rstrip()
        if way == LOAD_BALANCER:
            yield from _balancer_text(cluster, address, port, protocol)
    reached = {service.partition(":")[0] for service, *_ in by_way}
    hidden = [_key(item) for item in services if _key(item) not in reached]
    if hidden:
        yield from ([""] if before else [])
        yield f"no way from outside: {', '.join(hidden)}"
    yield from _ingress_text(cluster)


def _policy(cluster: Cluster, name: str) -> str:
    key = name.partition(":")[0]
    spec = next(service.spec for service in cluster.services if _key(service) == key)
    ranges = ", ".join(item.strip() for item in spec.load_balancer_source_ranges or ())
    text = f"{spec.type}, externalTrafficPolicy {spec.external_traffic_policy or 'Cluster'}"
    return f"{text}, source ranges {ranges}" if ranges else text


def _balancer_text(cluster: Cluster, address: str, port: int, protocol: str) -> Iterator[str]:
    balancer = balancer_at(cluster, address, port, protocol, IPV4)
    if balancer is not None:
        names = ", ".join(node.name for node in balancer.healthy) or "none"
        yield f"    the load balancer sends to healthy nodes: {names}"


def _ingress_text(cluster: Cluster) -> Iterator[str]:
    for ingress in cluster.all(Ingress):
        for rule in ingress.spec.rules or ():
            for item in rule.http.paths if rule.http is not None else ():
                backend = item.backend.service
                if backend is not None:
                    port = backend.port.name or backend.port.number
                    to = f"{ingress.metadata.namespace or 'default'}/{backend.name}:{port}"
                    yield (
                        f"by Ingress {ingress.key}: http://{rule.host or 'any host'}{item.path}"
                        f" ({item.path_type}) -> {to}"
                    )
