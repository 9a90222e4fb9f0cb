"""One packet to a Service through a generated node: its sender, its way, what it came to."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from fractions import Fraction
from functools import partial

from msgspec import Struct
from msgspec.structs import replace

from netemu.cli.branches import branch_runner, can_fork, in_child
from netemu.cli.tracing import run_passage, share_of
from netemu.errors import UsageError
from netemu.ip.fib import FibResult, Flowi4, fib_lookup, fib_result_prefsrc
from netemu.kube.cluster import Cluster
from netemu.kube.objects import Service
from netemu.kube.proxy.iptables import PortChains, endpoint_chain
from netemu.kube.proxy.iptables_xlb import local_chain
from netemu.kube.proxy.render import Rendered, render
from netemu.kube.proxy.userspace import ProxyPort
from netemu.kube.service_ports import (
    endpoints_map,
    is_family,
    is_proxied,
    port_key,
)
from netemu.sim.node import Node, build_node
from netemu.sim.probe import Entry, Outcome, enter, outcomes
from netemu.sim.spec import NodeSpec, SocketSpec
from netemu.snapshot.kube_node import (
    BRIDGE,
    NETWORK,
    OUTSIDE,
    UPLINK,
    ClusterNode,
    cluster_node,
    pod_places,
)
from netemu.trace.model import OutcomeShare, Passage, Trace
from netemu.wire.address import format_address, format_mac, in_prefix, parse_address, parse_prefix
from netemu.wire.packet_text import parse_packet

PROTOCOLS = ("tcp", "udp", "sctp")
SOURCE_PORT = 40000
PROXY_SOURCE_PORT = 50000
"""Port of the userspace proxy's own connections; the kernel chooses an ephemeral one."""
OUTSIDE_MAC = "52:54:00:00:03:fe"
"""The router that packets from outside come through."""

_TARGET = re.compile(
    r"(?P<name>.+?)(?::(?P<port>[\w-]+))?(?:/(?P<protocol>tcp|udp|sctp))?", re.IGNORECASE
)
_ADDRESS = re.compile(
    r"(?:\[(?P<v6>[0-9a-f:.]+)\]|(?P<v4>\d+\.\d+\.\d+\.\d+)):(?P<port>\d+)"
    r"(?:/(?P<protocol>tcp|udp|sctp))?",
    re.IGNORECASE,
)
_WORD = re.compile(r"[\w.-]+(?:/[A-Za-z][\w.-]*)*")
"""Addresses, chains, and devices with the namespace in front."""


class Destination(Struct, frozen=True, kw_only=True):
    """Where a packet is sent."""

    ip: str
    port: int
    protocol: str


class Sender(Struct, frozen=True, kw_only=True):
    """Who sends it."""

    ip: str
    node: str
    """The node that the pod lives on; empty for anybody else."""
    name: str = ""
    """`namespace/name` of the pod, where an object tells."""


class Walk(Struct, kw_only=True):
    """One packet in one mode."""

    mode: str
    node: str
    trace: Trace
    second: Passage | None = None
    """Userspace mode: the connection that the proxy opens to the endpoint."""
    names: Callable[[str], dict[str, str]] = lambda _: {}
    """Returns what addresses, devices and chains in a text stand for."""


def find_sender(cluster: Cluster, text: str, octets: int) -> Sender:
    """Return who `--from` names: a pod, or an address."""
    places = pod_places(cluster, octets)
    if is_family(text, octets):
        place = places.get(text)
        if place is None:
            return Sender(ip=text, node="")
        return Sender(ip=text, node=place.node, name=place.name)
    name = text if "/" in text else f"default/{text}"
    for ip, place in places.items():
        if place.name == name:
            return Sender(ip=ip, node=place.node, name=place.name)
    known = ", ".join(sorted({place.name for place in places.values()})[:8]) or "none"
    raise UsageError(f"--from {text}: no such pod and no address; the pods with one are {known}")


def find_destination(cluster: Cluster, text: str, octets: int) -> Destination:
    """Return what `--to` names: SERVICE[:PORT][/PROTO] or IP:PORT[/PROTO]."""
    found = _ADDRESS.fullmatch(text)
    if found:
        return Destination(
            ip=found["v6"] or found["v4"],
            port=int(found["port"]),
            protocol=(found["protocol"] or "tcp").lower(),
        )
    found = _TARGET.fullmatch(text)
    assert found is not None
    service = _service(cluster, found["name"])
    return _service_port(cluster, service, found["port"] or "", found["protocol"] or "", octets)


def _service(cluster: Cluster, name: str) -> Service:
    key = name if "/" in name else f"default/{name}"
    for service in cluster.services:
        if f"{service.metadata.namespace or 'default'}/{service.metadata.name}" == key:
            return service
    known = ", ".join(service.key for service in cluster.services[:8]) or "none"
    raise UsageError(f"--to {name}: there is no Service {key}; the objects have {known}")


def _service_port(
    cluster: Cluster, service: Service, wanted: str, protocol: str, octets: int
) -> Destination:
    name = service.key
    ports = service.spec.ports or []
    if not wanted and len(ports) != 1:
        listed = ", ".join(f"{port.name or port.port}" for port in ports) or "no port"
        raise UsageError(f"--to {name}: say which port, as {name}:PORT; it has {listed}")
    chosen = [port for port in ports if wanted in {"", port.name, str(port.port)}]
    named = [port for port in chosen if port.protocol.lower() == (protocol.lower() or "tcp")]
    port = next(iter(named or chosen), None)
    number = port.port if port is not None else int(wanted) if wanted.isdigit() else 0
    if not number:
        raise UsageError(f"--to {name}:{wanted}: the Service has no such port")
    if protocol or port is None:
        kind = protocol.lower() or "tcp"
    else:
        kind = port.protocol.lower()
    if service.spec.type == "ExternalName":
        raise UsageError(
            f"--to {name}: an ExternalName Service is only the DNS name"
            f" {service.spec.external_name}; no packet has its address"
        )
    if is_proxied(service):
        given = service.spec.cluster_ips or [service.spec.cluster_ip]
        ips = [ip for ip in given if is_family(ip, octets)]
        if not ips:
            raise UsageError(f"--to {name}: the Service has no ClusterIP of this family")
        return Destination(ip=ips[0], port=number, protocol=kind)
    key = (
        f"{service.metadata.namespace or 'default'}/{service.metadata.name}",
        port.name if port is not None else "",
        kind,
    )
    endpoints = [
        item for item in endpoints_map(cluster.slices, octets, "").get(key, []) if item.ready
    ]
    if not endpoints:
        raise UsageError(f"--to {name}: the Service is headless and has no ready endpoint")
    return Destination(ip=endpoints[0].ip, port=endpoints[0].port, protocol=kind)


# --- Walking --------------------------------------------------------------------------------------


class WalkOptions(Struct, frozen=True, kw_only=True):
    """The options of one call."""

    cluster: Cluster
    node: str
    sender: Sender
    destination: Destination
    version: str | None
    octets: int
    seed: int
    kernel: str
    with_outcomes: bool


def walk(options: WalkOptions, mode: str) -> Walk:
    """Send the packet through the node in one mode and return what happened."""
    rendered = render(
        options.cluster, options.node, mode, octets=options.octets, version=options.version
    )
    made = cluster_node(
        options.cluster, rendered, wanted=(options.sender.ip, options.destination.ip)
    )

    assumed = _let_listen(made, options.destination)

    def build(spec: NodeSpec) -> Node:
        node = build_node(spec, seed=options.seed, kernel=options.kernel)
        node.assume_neighbours()
        return node

    node = build(made.spec)
    entry = entry_of(options, made, node)
    passage = run_passage(node, entry)
    found = Walk(
        mode=mode,
        node=options.node,
        trace=Trace(
            source=f"node {options.node} in {mode} mode",
            seed=options.seed,
            kernel=options.kernel,
            passage=passage,
            notes=[*options.cluster.notes, *rendered.notes],
        ),
    )
    if assumed and (passage.delivered_to or "").startswith("node:"):
        found.trace.notes.append(assumed)
    proxy = _proxy_reached(rendered, passage)
    if proxy is not None:
        found.second = _second_connection(options, node, proxy, choice=0)
    if options.with_outcomes:
        again = partial(build, made.near_spec())
        if proxy is not None:
            shares = _proxied_outcomes(options, again, entry, proxy)
        else:
            shares = [share_of(item) for item in outcomes(branch_runner(again, entry))]
        found.trace.outcomes = merged_shares(_renamed(made, share) for share in shares)
    passage.delivered_to = _delivered(made, passage.delivered_to)
    if found.second is not None:
        found.second.delivered_to = _delivered(made, found.second.delivered_to)
    found.names = partial(_names, options, made)
    return found


def _let_listen(made: ClusterNode, target: Destination) -> str:
    """Let a process listen at a node's own address, and say so: the objects do not tell of any."""
    if target.protocol not in {"tcp", "udp"}:
        return ""
    address = parse_address(target.ip)
    added = False
    for space in made.spec.namespaces():
        known = {(item.protocol, item.port) for item in space.sockets or ()}
        own = any(item.address == address for item in space.addresses)
        if own and (target.protocol, target.port) not in known:
            mine = SocketSpec(protocol=target.protocol, address=address, port=target.port)
            space.sockets = [*(space.sockets or ()), mine]
            added = True
    place = f"{_bracketed(target.ip)}:{target.port}/{target.protocol}"
    said = f"no rule takes {place} elsewhere; that the node itself listens there is assumed"
    return said if added else ""


def entry_of(options: WalkOptions, made: ClusterNode, node: Node) -> Entry:
    """Return how the packet enters: by the pod's port, from the node itself, or from outside."""
    source, target = options.sender.ip, options.destination
    flags = " S" if target.protocol == "tcp" else ""
    head = f"{target.protocol} {_bracketed(source)}:{SOURCE_PORT} > {_bracketed(target.ip)}"
    text = f"{head}:{target.port}{flags}"
    pods = {place.ip: key for key, place in made.pods.items()}
    settings = made.rendered.settings
    own = parse_address(source)
    if source in settings.local_ips or any(
        item.address == own for item in made.spec.main.addresses
    ):
        return enter(node, parse_packet(text), local=True)
    links = {link.name: link for link in made.spec.main.links}
    if source in pods:
        device = pods[source]
        space, slash, _ = device.rpartition("/")
        bridge = next(
            link
            for part in made.spec.namespaces()
            if part.name == (space if slash else "")
            for link in part.links
            if link.name == BRIDGE
        )
        neighbour = _same_subnet(made, source, target.ip)
        to_mac = format_mac(neighbour or bridge.mac)
        packet = f"{text} src-mac={format_mac(made.pods[device].mac)} dst-mac={to_mac}"
        return enter(node, parse_packet(packet), device)
    device = f"{NETWORK}/{OUTSIDE}" if len(made.nodes) > 1 else UPLINK
    packet = f"{text} src-mac={OUTSIDE_MAC} dst-mac={format_mac(links[UPLINK].mac)}"
    return enter(node, parse_packet(packet), device)


def _bracketed(ip: str) -> str:
    return f"[{ip}]" if ":" in ip else ip


def _same_subnet(made: ClusterNode, source: str, target: str) -> bytes:
    """Return the MAC of a pod that the sender reaches without its gateway."""
    for address in made.spec.main.addresses:
        if address.device != BRIDGE or address.prefix_len == len(address.address) * 8:
            continue
        prefix = parse_prefix(f"{format_address(address.address)}/{address.prefix_len}")
        both = (parse_address(source), parse_address(target))
        if all(in_prefix(item, *prefix) for item in both):
            places = [place for place in made.pods.values() if place.ip == target]
            return places[0].mac if places else b""
    return b""


# --- Userspace mode -------------------------------------------------------------------------------


def _proxy_reached(rendered: Rendered, passage: Passage) -> ProxyPort | None:
    """Return the proxy's port that took the packet, if one did."""
    if passage.verdict != "ACCEPT" or not (passage.delivered_to or "").startswith("node:"):
        return None
    for stamp, event in passage.told:
        if stamp.packet_id == passage.packet_id and hasattr(event, "what"):
            for proxy in rendered.proxies:
                if f":{proxy.port}" in str(event.what):
                    return proxy
    return None


def proxied_endpoint(rendered: Rendered, passage: Passage) -> str | None:
    """Return the first endpoint of the proxy that took the packet; None if none did or it has none.

    A trace's second connection goes there, too.
    """
    proxy = _proxy_reached(rendered, passage)
    return str(proxy.endpoints[0]) if proxy is not None and proxy.endpoints else None


def _second_connection(
    options: WalkOptions, node: Node, proxy: ProxyPort, *, choice: int
) -> Passage | None:
    """Let the proxy process open its own connection to an endpoint; None without endpoints."""
    if not proxy.endpoints:
        return None
    endpoint = proxy.endpoints[choice]
    source = own_source(node, endpoint.ip) or options.sender.ip
    flags = " S" if proxy.protocol == "tcp" else ""
    text = f"{proxy.protocol} {source}:{PROXY_SOURCE_PORT} > {endpoint}{flags}"
    return run_passage(node, enter(node, parse_packet(text), local=True))


def _proxied_outcomes(
    options: WalkOptions, build: Callable[[], Node], entry: Entry, proxy: ProxyPort
) -> list[OutcomeShare]:
    """Return one outcome per endpoint: the proxy has shuffled them, so each is as probable."""
    if not proxy.endpoints:
        return []

    def run(choice: int) -> Outcome:
        node = build()
        run_passage(node, entry)
        second = _second_connection(options, node, proxy, choice=choice)
        assert second is not None
        return Outcome(
            probability=Fraction(1, len(proxy.endpoints)),
            verdict=second.verdict,
            dnat=str(proxy.endpoints[choice]),
            snat=None,
            masquerade=False,
            delivered_to=second.delivered_to,
        )

    runs = [partial(run, choice) for choice in range(len(proxy.endpoints))]
    return [share_of(in_child(one) if can_fork() else one()) for one in runs]


def own_source(node: Node, target: str) -> str:
    """Return the address that a process of the node asks from; empty without a route."""
    found = fib_lookup(node.main.net, Flowi4(daddr=parse_address(target), scope=0))
    return (
        format_address(fib_result_prefsrc(node.main.net, found))
        if isinstance(found, FibResult)
        else ""
    )


# --- Names ----------------------------------------------------------------------------------------


def _delivered(made: ClusterNode, place: str | None) -> str | None:
    """Return a place in the cluster's words: `pod:NS/NAME`, `node:NAME` or `port:DEV`."""
    if place is None:
        return None
    kind, _, name = place.partition(":")
    if kind == "node":
        return f"node:{made.nodes.get('' if name in {'', 'node'} else name, name)}"
    ports = [port.rpartition("/")[2] for port in name.split(",")]
    by_device = {place.device: place for place in made.pods.values()}
    pods = [by_device[port] for port in ports if port in by_device]
    if pods:
        return f"pod:{pods[0].name}" if pods[0].name else f"pod:{pods[0].ip}"
    return f"port:{UPLINK}" if OUTSIDE in ports else place


def _renamed(made: ClusterNode, share: OutcomeShare) -> OutcomeShare:
    return replace(share, delivered_to=_delivered(made, share.delivered_to))


def merged_shares(shares: Iterable[OutcomeShare]) -> list[OutcomeShare]:
    """Add up outcomes that became equal, the most probable first."""
    found: dict[OutcomeShare, Fraction] = {}
    for share in shares:
        key = replace(share, probability="", percent=0.0)
        found[key] = found.get(key, Fraction(0)) + Fraction(share.probability)
    ordered = sorted(found.items(), key=lambda item: -item[1])
    return [
        replace(key, probability=f"{part.numerator}/{part.denominator}", percent=float(part * 100))
        for key, part in ordered
    ]


def _names(options: WalkOptions, made: ClusterNode, text: str) -> dict[str, str]:
    """Return what the addresses, devices and chains in a text stand for."""
    words = set(_WORD.findall(text))
    found: dict[str, str] = {}
    for key, place in made.pods.items():
        what = f"pod {place.name or place.ip}"
        found[key] = f"{what} on {place.node}"
        found[place.ip] = what
    settings = made.rendered.settings
    found.setdefault(settings.node_ip, f"node {settings.node_name}")
    endpoints = endpoints_map(options.cluster.slices, options.octets, options.node)
    for port in made.services:
        for ip, what in (
            (port.cluster_ip, "ClusterIP"),
            *((ip, "external IP") for ip in port.external_ips),
            *((ip, "load balancer IP") for ip in port.load_balancer_ips),
        ):
            found.setdefault(ip, f"{what} of {port.namespace}/{port.service}")
        chains = PortChains.of(port)
        found[chains.cluster] = f"{port.name}, all endpoints"
        for chain in (chains.local, local_chain(port)):
            found[chain] = f"{port.name}, endpoints of this node"
        found[chains.external] = f"{port.name}, from outside"
        found[chains.firewall] = f"{port.name}, source ranges"
        for endpoint in endpoints.get(port_key(port), []):
            if endpoint.ip in words:
                pod = f" ({endpoint.target})" if endpoint.target else ""
                found[endpoint_chain(port, endpoint)] = f"{port.name} at {endpoint}{pod}"
    return {key: name for key, name in found.items() if key in words}
