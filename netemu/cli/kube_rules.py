"""A packet of IPv6 to a Service: what its node's rules make of it, by exact reasoning.

Nothing is sent: netemu's nodes have no IPv6. The rules are whole, as the node would hold them; only
Services that the packet cannot meet are left out.
"""

from __future__ import annotations

from fractions import Fraction

from netemu.cli.kube_walk import SOURCE_PORT, Destination, Sender, merged_shares
from netemu.errors import UsageError
from netemu.kube.cluster import Cluster
from netemu.kube.proxy.render import Rendered, render, version_for
from netemu.kube.proxy.settings import is_loopback, proxy_settings
from netemu.kube.service_ports import endpoints_map
from netemu.netfilter.hook import Family
from netemu.netfilter.xtables.space import CtState, Field
from netemu.questions.packet import Ending, endings
from netemu.ruleset import parse_ruleset
from netemu.sim.spec import AddressSpec, LinkSpec, NamespaceSpec
from netemu.snapshot.kube_node import BRIDGE, UPLINK, cluster_at, pod_places
from netemu.trace.model import OutcomeShare
from netemu.wire.address import format_address, in_prefix, parse_address, parse_prefix
from netemu.wire.ipv4 import Protocol

TTL, SYN = 64, 0x02
IPV6_HEADER, HEADERS = 40, {"tcp": 20, "udp": 8, "sctp": 12}
"""Octets."""


def reasoned(
    cluster: Cluster,
    node: str,
    sender: Sender,
    target: Destination,
    mode: str,
    *,
    octets: int,
    version: str | None,
) -> list[OutcomeShare]:
    """Return all that may become of the packet at its first node, most probable first."""
    if mode != "iptables":
        raise UsageError(f"a packet of IPv6 is followed in iptables mode, not in {mode} mode")
    chosen = version_for(cluster, mode, version)
    settings = proxy_settings(cluster, node, octets=octets, version=chosen)
    near = cluster_at(cluster, settings, (sender.ip, target.ip))
    rendered = render(near, node, mode, octets=octets, version=version)
    rules = parse_ruleset(rendered.merged(), f"rules of {node}", family=Family.IPV6)
    spec = NamespaceSpec(
        links=[
            LinkSpec(name="lo", ifindex=1, kind="loopback"),
            LinkSpec(name=UPLINK, ifindex=2),
            LinkSpec(name=BRIDGE, ifindex=3, kind="bridge"),
        ],
        addresses=[
            AddressSpec(
                device="lo" if is_loopback(ip) else UPLINK,
                address=parse_address(ip),
                prefix_len=octets * 8,
            )
            for ip in settings.local_ips
        ],
    )
    device = _device(rendered, sender)
    found = endings(rules, spec, device, _fields(sender, target))
    places = _Places(cluster, rendered, octets)
    return merged_shares(_share(ending, part, target, places) for ending, part in found.items())


def _device(rendered: Rendered, sender: Sender) -> str:
    """Return where the packet enters: as in a walk through IPv4."""
    settings = rendered.settings
    if sender.ip in settings.local_ips:
        return ""
    pods = settings.local_range
    in_range = pods and in_prefix(parse_address(sender.ip), *parse_prefix(pods))
    return BRIDGE if sender.node or in_range else UPLINK


def _fields(sender: Sender, target: Destination) -> dict[Field, int]:
    tcp = target.protocol == "tcp"
    return {
        Field.SOURCE: _number(sender.ip),
        Field.DESTINATION: _number(target.ip),
        Field.PROTOCOL: Protocol[target.protocol.upper()],
        Field.SOURCE_PORT: SOURCE_PORT,
        Field.DESTINATION_PORT: target.port,
        Field.CT_STATE: CtState.NEW,
        Field.TTL: TTL,
        Field.LENGTH: IPV6_HEADER + HEADERS[target.protocol],
        Field.TCP_FLAGS: SYN if tcp else 0,
    }


def _number(ip: str) -> int:
    return int.from_bytes(parse_address(ip), "big")


class _Places:
    """Who has an address in the cluster."""

    def __init__(self, cluster: Cluster, rendered: Rendered, octets: int) -> None:
        self.octets = octets
        self.node = rendered.settings.node_name
        known = {node.metadata.name for node in cluster.nodes} | {self.node}
        self._pods = {
            item.ip: item.target or item.ip
            for items in endpoints_map(cluster.slices, octets, "").values()
            for item in items
            if item.node_name in known
        }
        for ip, place in pod_places(cluster, octets).items():
            self._pods[ip] = place.name

    def of(self, ip: str) -> str:
        """Return where a packet for an address that is not this node's ends."""
        return f"pod:{self._pods[ip]}" if ip in self._pods else f"port:{UPLINK}"


def _share(ending: Ending, part: Fraction, target: Destination, places: _Places) -> OutcomeShare:
    number, port = ending.destination
    ip = format_address(number.to_bytes(places.octets, "big"))
    moved = ending.destination != (_number(target.ip), target.port)
    place = None
    if ending.verdict == "ACCEPT":
        here = ending.how in {"in", "loop"}
        place = f"node:{places.node}" if here else places.of(ip)
    return OutcomeShare(
        probability=f"{part.numerator}/{part.denominator}",
        percent=float(part * 100),
        verdict=ending.verdict,
        dnat=f"[{ip}]:{port}" if moved else None,
        snat=None,
        masquerade=ending.source_changed,
        delivered_to=place,
    )
