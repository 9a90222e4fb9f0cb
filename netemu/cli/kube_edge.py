"""What stands before the nodes: a cloud's load balancer, an ingress controller."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from urllib.parse import urlsplit

from msgspec import Struct, field
from msgspec.structs import replace

from netemu.cli.kube_render import only_node
from netemu.cli.kube_rules import reasoned
from netemu.cli.kube_walk import (
    Destination,
    Sender,
    Walk,
    WalkOptions,
    find_destination,
    find_sender,
    merged_shares,
    walk,
)
from netemu.errors import UsageError
from netemu.kube.balancer import CloudBalancer, balancer_at
from netemu.kube.cluster import Cluster
from netemu.kube.ingress import Choice, choose, controller_service
from netemu.kube.objects import Ingress
from netemu.kube.proxy.settings import is_loopback, proxy_settings
from netemu.kube.service_ports import IPV6
from netemu.trace.model import OutcomeShare
from netemu.wire.address import in_prefix, parse_address, parse_prefix

SCHEMES = ("http://", "https://")
DEFAULT_PORTS = {"http": 80, "https": 443}
CERTAIN = "1/1"


class Journey(Struct, kw_only=True):
    """A packet's whole way in one mode: what decided before the nodes, then the nodes."""

    mode: str
    lead: list[str] = field(default_factory=list)
    """Sentences about what decided before the node that `walk` is about."""
    facts: dict[str, object] = field(default_factory=dict)
    """The same as plain values."""
    first: Journey | None = None
    """The way to what opened the connection that `walk` is about."""
    walk: Walk | None = None
    """None where the packet was refused before it reached a node, or is reasoned about."""
    outcomes: list[OutcomeShare] = field(default_factory=list)
    """Without a walk: what may become of the packet."""
    verdict: str = ""
    reason: str = ""

    @property
    def notes(self) -> list[str]:
        """Notes of all parts."""
        mine = self.walk.trace.notes if self.walk is not None else []
        return [*(self.first.notes if self.first is not None else []), *mine]


class Asked(Struct, frozen=True, kw_only=True):
    """What the command line said of a journey, but for its mode."""

    cluster: Cluster
    source: str
    target: str
    node: str | None
    version: str | None
    octets: int
    seed: int
    kernel: str
    with_outcomes: bool


def journey(asked: Asked, mode: str) -> Journey:
    """Send a packet, or a request, from outside, a node or a pod."""
    sender = find_sender(asked.cluster, asked.source, asked.octets)
    if asked.target.lower().startswith(SCHEMES):
        if asked.octets == IPV6:
            raise UsageError(f"--to {asked.target}: a request over IPv6 is not followed")
        return _request(asked, sender, mode)
    target = find_destination(asked.cluster, asked.target, asked.octets)
    if asked.octets == IPV6:
        return _reasoned(asked, sender, target, mode)
    return _packet(asked, sender, target, mode)


def _reasoned(asked: Asked, sender: Sender, target: Destination, mode: str) -> Journey:
    """Say what the rules of the packet's node make of it; nothing is sent."""
    cluster = asked.cluster
    node = asked.node or sender.node or cluster.node_of(sender.ip) or cluster.node_of(target.ip)
    node = node or only_node(cluster)
    if is_loopback(target.ip) and not _is_node(asked, node, sender.ip):
        return _own_loopback(sender, target, mode)
    shares = reasoned(
        cluster, node, sender, target, mode, octets=asked.octets, version=asked.version
    )
    found = Journey(mode=mode, outcomes=shares)
    verdicts = {share.verdict for share in shares}
    found.verdict = verdicts.pop() if len(verdicts) == 1 else "MIXED"
    found.lead = [
        f"== {mode} mode, node {node}",
        f"{found.verdict}  as its rules have it; no frame of IPv6 is sent",
    ]
    return found


def _packet(asked: Asked, sender: Sender, target: Destination, mode: str) -> Journey:
    cluster = asked.cluster
    balancer = balancer_at(cluster, target.ip, target.port, target.protocol, asked.octets)
    chosen = asked.node or sender.node or cluster.node_of(sender.ip)
    configured = cluster.proxy_config().hostname_override
    several = len(cluster.nodes) > 1 and not configured
    if balancer is not None and not chosen and several and _is_outside(asked, sender):
        return _balanced(asked, sender, target, balancer, mode)
    chosen = chosen or cluster.node_of(target.ip) or only_node(cluster)
    if is_loopback(target.ip) and not _is_node(asked, chosen, sender.ip):
        return _own_loopback(sender, target, mode)
    return Journey(mode=mode, walk=walk(_options(asked, chosen, sender, target), mode))


def _is_node(asked: Asked, node: str, ip: str) -> bool:
    """Return whether an address is a node's own."""
    settings = proxy_settings(asked.cluster, node, octets=asked.octets)
    return is_loopback(ip) or ip in settings.local_ips or bool(asked.cluster.node_of(ip))


def _own_loopback(sender: Sender, target: Destination, mode: str) -> Journey:
    """Say that a pod, or a host outside, talks to itself: no node gets to see that."""
    place = f"pod:{sender.name or sender.ip}" if sender.node else None
    share = OutcomeShare(
        probability=CERTAIN,
        percent=100.0,
        verdict="ACCEPT",
        dnat=None,
        snat=None,
        masquerade=False,
        delivered_to=place,
    )
    lead = [f"== {mode} mode", f"ACCEPT  {target.ip} is the sender's own: no node sees the packet"]
    return Journey(mode=mode, verdict="ACCEPT", lead=lead, outcomes=[share])


def _options(asked: Asked, node: str, sender: Sender, target: Destination) -> WalkOptions:
    return WalkOptions(
        cluster=asked.cluster,
        node=node,
        sender=sender,
        destination=target,
        version=asked.version,
        octets=asked.octets,
        seed=asked.seed,
        kernel=asked.kernel,
        with_outcomes=asked.with_outcomes,
    )


def _is_outside(asked: Asked, sender: Sender) -> bool:
    """Return whether a sender is neither a pod nor a node, nor in the pods' range."""
    name = asked.cluster.nodes[0].metadata.name
    pods = proxy_settings(asked.cluster, name, octets=asked.octets).local_range
    return not (pods and in_prefix(parse_address(sender.ip), *parse_prefix(pods)))


# --- Load balancer --------------------------------------------------------------------------------


def _balanced(
    asked: Asked, sender: Sender, target: Destination, balancer: CloudBalancer, mode: str
) -> Journey:
    """Let the load balancer choose a healthy node."""
    found = Journey(mode=mode, facts={"load_balancer": _balancer_facts(balancer)})
    found.lead = [f"load balancer {target.ip}:{target.port} of {balancer.service}"]
    found.lead += [
        f"  {node.name}  {'healthy' if node.healthy else 'left out'}: {node.why}"
        for node in balancer.nodes
    ]
    healthy = balancer.healthy
    if balancer.by_proxy and not balancer.node_port:
        found.lead.append("  ipMode Proxy needs a node port, and the Service has none")
        healthy = []
    if not healthy:
        found.verdict, found.reason = "REJECT", "NO_HEALTHY_NODE"
        found.lead.append("  no node is left: nothing is forwarded")
        return found
    chosen = healthy[asked.seed % len(healthy)]
    walks: dict[str, Walk] = {}
    for node in healthy if asked.with_outcomes else [chosen]:
        to, by = target, sender
        if balancer.by_proxy:
            to = Destination(ip=node.ip, port=balancer.node_port, protocol=target.protocol)
            by = Sender(ip=target.ip, node="")
        walks[node.name] = walk(_options(asked, node.name, by, to), mode)
    how = f"as a connection of its own to {chosen.ip}:{balancer.node_port}"
    found.lead.append(f"  takes {chosen.name}, {how if balancer.by_proxy else 'as it is'}")
    found.facts["load_balancer"] = {**_balancer_facts(balancer), "chosen": chosen.name}
    found.walk = walks[chosen.name]
    if asked.with_outcomes:
        found.walk.trace.outcomes = merged_shares(_shared_out(walks.values()))
    return found


def _balancer_facts(balancer: CloudBalancer) -> dict[str, object]:
    return {
        "service": balancer.service,
        "address": balancer.address,
        "port": balancer.port,
        "mode": "Proxy" if balancer.by_proxy else "VIP",
        "nodes": [
            {"name": node.name, "healthy": node.healthy, "why": node.why} for node in balancer.nodes
        ],
        "chosen": None,
    }


def _shared_out(walks: Iterable[Walk]) -> list[OutcomeShare]:
    """Return the outcomes of all nodes, each node as probable as the others."""
    parts = list(walks)
    return [
        replace(share, probability=_product(share.probability, len(parts)))
        for part in parts
        for share in part.trace.outcomes or ()
    ]


def _product(probability: str, count: int) -> str:
    part = Fraction(probability) / count
    return f"{part.numerator}/{part.denominator}"


# --- Ingress --------------------------------------------------------------------------------------


def _request(asked: Asked, sender: Sender, mode: str) -> Journey:
    """Send an HTTP request to the ingress controller, and its own connection to the Service."""
    url = urlsplit(asked.target)
    host, path = url.hostname or "", url.path or "/"
    if not host:
        raise UsageError(f"--to {asked.target}: a host is needed, as in http://shop.example/cart")
    try:
        port = url.port or DEFAULT_PORTS[url.scheme.lower()]
    except ValueError as problem:
        raise UsageError(f"--to {asked.target}: {problem}") from None
    if not asked.cluster.all(Ingress):
        raise UsageError(f"--to {asked.target}: the objects have no Ingress")
    choice = choose(asked.cluster, host, path)
    found = Journey(mode=mode)
    found.lead = [f"ingress  {asked.target}"]
    if choice is None:
        found.verdict, found.reason = "REJECT", "NO_INGRESS_RULE"
        found.facts = {"ingress": {"name": None, "status": 404}}
        found.lead.append("  no rule of any Ingress takes it: the controller answers 404")
        return found
    _tell_choice(found, choice, tls=url.scheme.lower() == "https")
    if not choice.service:
        raise UsageError(
            f"--to {asked.target}: Ingress {choice.ingress.key} leads to a resource that is no"
            " Service; where that goes its controller knows"
        )
    by = _controller(asked, found, choice, sender, port, mode)
    target = find_destination(asked.cluster, f"{choice.service}:{choice.port}", asked.octets)
    options = _options(asked, by.node or _some_node(asked), by, target)
    found.walk = walk(options, mode)
    return found


def _tell_choice(found: Journey, choice: Choice, *, tls: bool) -> None:
    rule = f"host {choice.host or 'any'}, {choice.path_type} {choice.path}"
    rule = rule if choice.path else "default backend"
    found.lead.append(
        f"  Ingress {choice.ingress.key}, {rule} -> Service {choice.service}:{choice.port}"
    )
    if choice.path_type == "ImplementationSpecific":
        found.lead.append("  ImplementationSpecific is the controller's matter; taken as a prefix")
    if tls or choice.has_tls:
        found.lead.append("  TLS is not looked at: it ends at the controller and changes no choice")
    found.facts["ingress"] = {
        "name": choice.ingress.key,
        "host": choice.host,
        "path": choice.path,
        "path_type": choice.path_type,
        "service": choice.service,
        "port": choice.port,
    }


def _controller(
    asked: Asked, found: Journey, choice: Choice, sender: Sender, port: int, mode: str
) -> Sender:
    """Return who opens the connection to the Service, after walking the way to it."""
    known = controller_service(asked.cluster, choice.ingress)
    if known is None:
        node = asked.node or _some_node(asked)
        ip = proxy_settings(asked.cluster, node, octets=asked.octets).node_ip
        found.lead.append(
            f"  no Service has the address of Ingress {choice.ingress.key}: its controller is taken"
            f" to run on node {node}, and the way to it is not walked"
        )
        return Sender(ip=ip, node=node)
    service, address = known
    ports = [item.port for item in service.spec.ports or ()]
    if port not in ports:
        listed = ", ".join(map(str, ports)) or "none"
        raise UsageError(
            f"--to {asked.target}: Service {service.key} of the ingress controller has no port"
            f" {port}; it has {listed}"
        )
    found.lead.append(f"  its controller is behind Service {service.key}, {address}:{port}")
    found.first = _packet(asked, sender, Destination(ip=address, port=port, protocol="tcp"), mode)
    place = _place(found.first)
    if not place.startswith("pod:"):
        raise UsageError(
            f"--to {asked.target}: the request reaches no pod of the ingress controller"
            f" ({place or _why(found.first)}); trace it with --to {address}:{port}"
        )
    return find_sender(asked.cluster, place.removeprefix("pod:"), asked.octets)


def _place(item: Journey) -> str:
    """Return where a journey ends; empty for nowhere."""
    if item.walk is None:
        return ""
    return (item.walk.second or item.walk.trace.passage).delivered_to or ""


def _why(item: Journey) -> str:
    if item.walk is None:
        return item.reason
    passage = item.walk.trace.passage
    return f"{passage.verdict} {passage.reason or ''}".strip()


def _some_node(asked: Asked) -> str:
    """Return the node of what the objects put nowhere."""
    configured = asked.cluster.proxy_config().hostname_override
    names = [node.metadata.name for node in asked.cluster.nodes]
    return configured or (names[0] if names else only_node(asked.cluster))
