"""What lies beyond the nodes of a cluster that runs: a router with clients on it.

The router has the address that the nodes' default routes lead to, and every client's address. A
load balancer in front of several healthy nodes is a route with that many next hops, of which each
connection's addresses and ports choose one, as balancers by ECMP do.
"""

from __future__ import annotations

from netemu.errors import UsageError
from netemu.ip.multipath import POLICY, Policy
from netemu.kube.balancer import balancer_at, node_ip
from netemu.kube.cluster import Cluster
from netemu.kube.service_ports import IPV4
from netemu.sim.admin import add_address, add_route, delete_route
from netemu.sim.node import Node
from netemu.sim.spec import (
    AddressSpec,
    LinkSpec,
    NamespaceSpec,
    NexthopSpec,
    NodeSpec,
    RouteSpec,
)
from netemu.snapshot.implied import implied_routes
from netemu.snapshot.kube_node import NETWORK, NODE_PREFIX_LEN, OUTSIDE, UPLINK
from netemu.wire.address import format_address, parse_address

PORT = "to-outside"
IFINDEX = 1000
"""Of the port; those of nodes count from 10."""


class Outside:
    """The router."""

    def __init__(self, node: Node, cluster: Cluster) -> None:
        """Plug it in when the first client comes."""
        self._node = node
        self._cluster = cluster
        self._clients: set[str] = set()
        self._routes: dict[str, RouteSpec] = {}

    def client(self, ip: str) -> str:
        """Give the router a client's address; return the namespace that the client lives in."""
        if OUTSIDE not in self._node.namespaces:
            self._plug()
        if ip not in self._clients:
            self._clients.add(ip)
            spec = AddressSpec(device="lo", address=parse_address(ip), prefix_len=32)
            add_address(self._node.namespaces[OUTSIDE].net, spec)
        return OUTSIDE

    def lead(self, ip: str, port: int, protocol: str, via: str) -> None:
        """Lead packets for a Service's address to a node: `via`, or those its balancer sends to.

        Raises UsageError when there is no such node, or none that is healthy.
        """
        gateways = self._nodes_for(ip, port, protocol, via)
        net = self._node.namespaces[OUTSIDE].net
        if not gateways:
            return
        hops = tuple(
            NexthopSpec(device=UPLINK, gateway=parse_address(gateway)) for gateway in gateways
        )
        route = RouteSpec(prefix=parse_address(ip), prefix_len=32, nexthops=hops)
        known = self._routes.get(ip)
        if known == route:
            return
        if known is not None:
            delete_route(net, known)
        add_route(net, route)
        self._routes[ip] = route

    def _nodes_for(self, ip: str, port: int, protocol: str, via: str) -> list[str]:
        """Return the addresses of the nodes that packets go to; none for a node's own address."""
        if self._cluster.node_of(ip):
            return []
        if via:
            return [node_ip(self._cluster.node(via), IPV4)]
        balancer = balancer_at(self._cluster, ip, port, protocol, IPV4)
        if balancer is None:
            return [node_ip(self._cluster.nodes[0], IPV4)]
        if balancer.by_proxy:
            raise UsageError(
                f"the load balancer at {ip} ends connections itself (ipMode Proxy); ask a node port"
            )
        if not balancer.healthy:
            raise UsageError(f"the load balancer at {ip} has no healthy node")
        return [node.ip for node in balancer.healthy]

    def _plug(self) -> None:
        """Join the router to the nodes' network."""
        gateways = {
            hop.gateway
            for node in self._cluster.nodes
            for route in self._node.namespaces[node.metadata.name].spec.routes
            for hop in route.nexthops
            if not route.prefix_len
        }
        part = NamespaceSpec(
            name=OUTSIDE, netns_ids={0: NETWORK}, sysctls={POLICY: str(int(Policy.L4))}
        )
        loopback = AddressSpec(device="lo", address=parse_address("127.0.0.1"), prefix_len=8)
        part.addresses = [
            loopback,
            *(
                AddressSpec(device=UPLINK, address=gateway, prefix_len=NODE_PREFIX_LEN)
                for gateway in sorted(gateways)
            ),
        ]
        part.routes = implied_routes(part.addresses)
        part.links = [
            LinkSpec(
                name=UPLINK,
                ifindex=2,
                kind="veth",
                mac=bytes((0x52, 0x54, 0, 0, 3, 0xFE)),
                peer_ifindex=IFINDEX,
                peer_netnsid=0,
            )
        ]
        end = LinkSpec(
            name=PORT,
            ifindex=IFINDEX,
            kind="veth",
            mac=bytes((0x52, 0x54, 0, 0, 3, 2)),
            master="lan",
            peer_ifindex=2,
            peer_netnsid=0,
        )
        network = NamespaceSpec(name=NETWORK, links=[end], netns_ids={0: OUTSIDE})
        self._node.grow(NodeSpec(main=part, others=[network]))


def is_address(text: str) -> bool:
    """Return whether a client's name is an address, so that it lives outside."""
    try:
        return format_address(parse_address(text)) == text
    except ValueError:
        return False
