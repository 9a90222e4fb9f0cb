"""A random node and the machines around it.

The node has two to four ports: some with addresses, some under a bridge, maybe a pod namespace
behind the bridge. Around it live hosts that answer ARP (or do not), each behind one port.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from netemu.livekernel.generate.dice import Dice
from netemu.sim.spec import (
    AddressSpec,
    FdbSpec,
    LinkSpec,
    NamespaceSpec,
    NeighbourSpec,
    NexthopSpec,
    NodeSpec,
    PolicyRuleSpec,
    RouteSpec,
    SocketSpec,
)
from netemu.wire.address import network_of, parse_address, parse_prefix

VIPS = tuple(parse_address(text) for text in ("10.96.0.1", "10.96.0.10", "10.96.7.7"))
"""Addresses that nobody has: services, for DNAT."""

FAR_NETS = ("198.51.100.0/24", "203.0.113.0/24", "10.50.0.0/16")
"""Networks behind gateways."""

SERVICE_PORTS = (80, 443, 53, 8080, 30080)
CLIENT_PORTS = (40000, 40001, 33333, 1023, 600, 5353, 65535)

LOOPBACK = LinkSpec(name="lo", ifindex=1, kind="loopback", mtu=65536, noarp=True)
LOOPBACK_ADDRESS = AddressSpec(
    device="lo", address=parse_address("127.0.0.1"), prefix_len=8, scope="host"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A machine outside the node."""

    address: bytes
    mac: bytes
    port: str
    """Port of the node that it is behind."""
    answers_arp: bool = True
    gateway: bool = False
    """Whether networks behind it answer through it."""


@dataclass(slots=True)
class World:
    """A node, and what is around it."""

    node: NodeSpec
    hosts: list[Host] = field(default_factory=list)
    own: list[bytes] = field(default_factory=list)
    """Addresses of the node and its pods."""
    networks: list[tuple[bytes, int]] = field(default_factory=list)
    mac_at: dict[str, bytes] = field(default_factory=dict)
    """The node's MAC for frames that enter at a port."""
    pods: list[bytes] = field(default_factory=list)
    """Addresses of pod namespaces."""
    pod_macs: list[bytes] = field(default_factory=list)

    @property
    def main(self) -> NamespaceSpec:
        """The node's main namespace."""
        return self.node.main

    def host_at(self, address: bytes) -> Host | None:
        """Return the host with this address."""
        return next((host for host in self.hosts if host.address == address), None)


def mac(group: int, number: int) -> bytes:
    """Return one of this case's MAC addresses."""
    return bytes((2, 0, 0, 0, group, number))


class _Maker:
    """Puts a world together, piece by piece."""

    def __init__(self, dice: Dice) -> None:
        self.dice = dice
        self.main = NamespaceSpec(links=[LOOPBACK], addresses=[LOOPBACK_ADDRESS])
        self.world = World(NodeSpec(main=self.main))
        self.index = 1

    def next_index(self) -> int:
        self.index += 1
        return self.index

    def link(self, name: str, **more: object) -> LinkSpec:
        index = self.next_index()
        mtu = self.dice.weighted([(12, 1500), (1, 1400), (1, 576), (1, 9000)])
        values: dict[str, object] = {"mac": mac(1, index), "mtu": mtu} | more
        link = LinkSpec(name=name, ifindex=index, **values)  # type: ignore[arg-type]
        self.main.links.append(link)
        return link

    def address(self, device: str, text: str, *, secondary: bool = False) -> None:
        address, length = parse_prefix(text)
        network = network_of(address, length)
        broadcast = _broadcast(network, length) if length < 31 and self.dice.chance(85) else b""
        self.main.addresses.append(
            AddressSpec(
                device=device,
                address=address,
                prefix_len=length,
                broadcast=broadcast,
                secondary=secondary,
            )
        )
        self.world.own.append(address)
        if (network, length) not in self.world.networks and length < 32:
            self.world.networks.append((network, length))

    def hosts(self, port: str, network: bytes, numbers: list[int], *, gateway: int = 0) -> None:
        for number in numbers:
            self.world.hosts.append(
                Host(
                    address=network[:3] + bytes((number,)),
                    mac=mac(0x80 + len(self.world.hosts), number),
                    port=port,
                    answers_arp=self.dice.chance(88),
                    gateway=number == gateway,
                )
            )


def random_world(dice: Dice) -> World:
    """Draw a node and its surroundings."""
    maker = _Maker(dice)
    layout = dice.weighted(
        [(4, _router), (5, _bridge_node), (2, _bridge_firewall), (2, _plain_host)]
    )
    layout(maker)
    _extra_addresses(maker)
    _routes(maker)
    _neighbours(maker)
    _sysctls(maker)
    _sockets(maker)
    if dice.chance(15):
        _policy(maker)
    return maker.world


def _router(maker: _Maker) -> None:
    for number in range(maker.dice.between(2, 4)):
        _routed_port(maker, number)


def _plain_host(maker: _Maker) -> None:
    _routed_port(maker, 0)
    if maker.dice.chance(50):
        _routed_port(maker, 1)


def _routed_port(maker: _Maker, number: int) -> None:
    name = maker.dice.pick(("eth", "ens", "net")) + str(number)
    link = maker.link(name)
    network = parse_address(f"10.{number + 1}.0.0")
    maker.address(name, f"10.{number + 1}.0.1/24")
    maker.world.mac_at[name] = link.mac
    maker.hosts(name, network, [2, 3, 254], gateway=254)


def _bridge_node(maker: _Maker) -> None:
    _routed_port(maker, 0)
    if maker.dice.chance(30):
        _routed_port(maker, 1)
    bridge = _bridge(maker, maker.dice.pick(("cni0", "docker0", "br0")), "10.244.0.1/24")
    ports = [f"veth{number}" for number in range(maker.dice.between(1, 2))]
    for number, name in enumerate(ports):
        _bridge_port(maker, bridge, name)
        maker.hosts(name, parse_address("10.244.0.0"), [10 + number, 20 + number])
    if maker.dice.chance(50):
        _pod(maker, bridge)


def _bridge_firewall(maker: _Maker) -> None:
    bridge = _bridge(maker, "br0", "10.1.0.1/24")
    for number in range(maker.dice.between(2, 3)):
        name = f"eth{number}"
        _bridge_port(maker, bridge, name)
        gateway = 254 if number == 0 else 0
        maker.hosts(name, parse_address("10.1.0.0"), [10 + number, gateway or 20], gateway=gateway)
    if maker.dice.chance(40):
        _routed_port(maker, 3)


def _bridge(maker: _Maker, name: str, address: str) -> LinkSpec:
    options = {"mcast_snooping": maker.dice.weighted([(2, 1), (1, 0)])}
    if maker.dice.chance(10):
        options["nf_call_iptables"] = 1
    link = maker.link(name, kind="bridge", bridge=options, mtu=1500)
    if maker.dice.chance(95):
        maker.address(name, address)
    return link


def _bridge_port(maker: _Maker, bridge: LinkSpec, name: str, **more: object) -> LinkSpec:
    port: dict[str, int] = {}
    if maker.dice.chance(50):
        port["hairpin"] = 1
    for flag in ("isolated",):
        if maker.dice.chance(8):
            port[flag] = 1
    for flag in ("learning", "flood"):
        if maker.dice.chance(6):
            port[flag] = 0
    values: dict[str, object] = {"kind": "veth"} | more
    link = maker.link(name, master=bridge.name, port=port, mtu=1500, **values)
    if not link.peer_ifindex:
        maker.world.mac_at[name] = bridge.mac
    return link


def _pod(maker: _Maker, bridge: LinkSpec) -> None:
    own = LinkSpec(
        name="eth0",
        ifindex=2,
        kind="veth",
        mac=mac(0x40, 1),
        peer_ifindex=maker.index + 1,
        peer_netnsid=0,
    )
    outer = _bridge_port(maker, bridge, "vethpod", peer_ifindex=2, peer_netnsid=0)
    assert outer.ifindex == own.peer_ifindex
    address = parse_address("10.244.0.100")
    pod = NamespaceSpec(
        name="pod",
        links=[LOOPBACK, own],
        addresses=[
            LOOPBACK_ADDRESS,
            AddressSpec(
                device="eth0",
                address=address,
                prefix_len=24,
                broadcast=parse_address("10.244.0.255"),
            ),
        ],
        routes=[
            RouteSpec(
                prefix=bytes(4),
                prefix_len=0,
                nexthops=(NexthopSpec(device="eth0", gateway=parse_address("10.244.0.1")),),
            )
        ],
        sockets=_listeners(maker.dice),
        netns_ids={0: ""},
    )
    maker.main.netns_ids[0] = "pod"
    maker.world.node.others.append(pod)
    maker.world.pods.append(address)
    maker.world.pod_macs.append(own.mac)


def _extra_addresses(maker: _Maker) -> None:
    dice = maker.dice
    if dice.chance(15):
        maker.address("lo", "10.96.7.7/32")
    first = next((entry for entry in maker.main.addresses if entry.device != "lo"), None)
    if first is not None and dice.chance(20):
        text = f"10.{first.address[1]}.{first.address[2]}.9/24"
        maker.address(first.device, text, secondary=True)
    if first is not None and dice.chance(15):
        maker.address(first.device, "172.16.0.1/28")


def _routes(maker: _Maker) -> None:
    dice, world = maker.dice, maker.world
    gateways = [host for host in world.hosts if host.gateway]
    device = {address.address[:3]: address.device for address in maker.main.addresses}
    ways = [
        NexthopSpec(device=device[host.address[:3]], gateway=host.address)
        for host in gateways
        if host.address[:3] in device
    ]
    if not ways:
        return
    if dice.chance(85):
        maker.main.routes.append(
            RouteSpec(prefix=bytes(4), prefix_len=0, nexthops=(dice.pick(ways),))
        )
    for text in FAR_NETS:
        if dice.chance(60):
            prefix, length = parse_prefix(text)
            kind = dice.weighted(
                [
                    (14, "unicast"),
                    (1, "blackhole"),
                    (1, "unreachable"),
                    (1, "prohibit"),
                    (1, "throw"),
                ]
            )
            hops = (dice.pick(ways),) if kind == "unicast" else ()
            mtu = dice.weighted([(9, 0), (1, 1280)]) if kind == "unicast" else 0
            maker.main.routes.append(
                RouteSpec(prefix=prefix, prefix_len=length, kind=kind, nexthops=hops, mtu=mtu)
            )


def _neighbours(maker: _Maker) -> None:
    dice = maker.dice
    addressed = {address.device for address in maker.main.addresses}
    links = {link.name: link for link in maker.main.links}
    for host in maker.world.hosts:
        if not dice.chance(45):
            continue
        device = links[host.port].master or host.port
        if device not in addressed:
            continue
        state = dice.weighted([(3, "PERMANENT"), (4, "REACHABLE"), (3, "STALE")])
        address = host.mac if dice.chance(95) else mac(0x70, 9)
        maker.main.neighbours.append(
            NeighbourSpec(device=device, address=host.address, mac=address, state=state)
        )
    for host in maker.world.hosts:
        bridge = links[host.port].master
        if bridge and dice.chance(40):
            state = dice.weighted([(3, ""), (1, "static")])
            maker.main.fdb.append(
                FdbSpec(bridge=bridge, device=host.port, mac=host.mac, state=state)
            )


def _sysctls(maker: _Maker) -> None:
    dice, values = maker.dice, maker.main.sysctls
    values["net.ipv4.ip_forward"] = "1" if dice.chance(90) else "0"
    if dice.chance(25):
        group = dice.pick(["all", "default", *(link.name for link in maker.main.links[1:])])
        values[f"net.ipv4.conf.{group}.rp_filter"] = dice.pick("12")
    if dice.chance(50):
        values["net.ipv4.conf.all.log_martians"] = "1"
    if any(link.kind == "bridge" for link in maker.main.links) and dice.chance(25):
        values["net.bridge.bridge-nf-call-iptables"] = "0"
    if any(link.kind == "bridge" for link in maker.main.links) and dice.chance(8):
        values["net.bridge.bridge-nf-filter-vlan-tagged"] = "1"
    if dice.chance(5):
        device = dice.pick(maker.main.links[1:]).name
        values[f"net.ipv4.conf.{device}.forwarding"] = dice.pick("01")
    if dice.chance(80):  # redirects come at most every 20 ms: that depends on the machine's mood
        values["net.ipv4.conf.all.send_redirects"] = "0"
        values["net.ipv4.conf.default.send_redirects"] = "0"
    for name, choices, percent in (
        ("route_localnet", "1", 10),
        ("accept_local", "1", 6),
        ("arp_ignore", "1238", 10),
        ("arp_announce", "12", 8),
        ("arp_accept", "12", 8),
        ("arp_filter", "1", 5),
        ("proxy_arp", "1", 8),
        ("drop_unicast_in_l2_multicast", "1", 5),
        ("accept_source_route", "1", 10),
        ("bc_forwarding", "1", 3),
        ("src_valid_mark", "1", 5),
    ):
        if dice.chance(percent):
            group = dice.pick(["all", "default", *(link.name for link in maker.main.links[1:])])
            values[f"net.ipv4.conf.{group}.{name}"] = dice.pick(choices)
            if name == "proxy_arp":  # else the answer comes after a random time
                values["net.ipv4.neigh.default.proxy_delay"] = "0"
    for name, choice, percent in (
        ("net.ipv4.icmp_echo_ignore_all", ("1",), 4),
        ("net.ipv4.icmp_echo_ignore_broadcasts", ("0",), 8),
        ("net.ipv4.ip_default_ttl", ("128", "32"), 8),
        ("net.ipv4.icmp_errors_use_inbound_ifaddr", ("1",), 5),
        ("net.ipv4.fwmark_reflect", ("1",), 5),
        ("net.netfilter.nf_conntrack_tcp_loose", ("0",), 8),
        ("net.netfilter.nf_conntrack_tcp_be_liberal", ("1",), 8),
        ("net.netfilter.nf_conntrack_checksum", ("0",), 5),
        ("net.netfilter.nf_conntrack_log_invalid", ("255", "6", "1"), 12),
        ("net.netfilter.nf_conntrack_udp_timeout", ("10", "77"), 5),
        ("net.netfilter.nf_conntrack_acct", ("1",), 4),
    ):
        if dice.chance(percent):
            values[name] = dice.pick(choice)


def _listeners(dice: Dice) -> list[SocketSpec]:
    return [
        SocketSpec(protocol=protocol, address=bytes(4), port=port)
        for port in SERVICE_PORTS
        for protocol in ("tcp", "udp")
        if dice.chance(25)
    ]


def _sockets(maker: _Maker) -> None:
    maker.main.sockets = _listeners(maker.dice)


def _policy(maker: _Maker) -> None:
    dice = maker.dice
    rules = [
        PolicyRuleSpec(priority=0, table=255),
        PolicyRuleSpec(priority=32766, table=254),
        PolicyRuleSpec(priority=32767, table=253),
    ]
    network, length = dice.pick(maker.world.networks or [(bytes((10, 1, 0, 0)), 24)])
    port = dice.pick([link.name for link in maker.main.links])
    choices = [
        PolicyRuleSpec(priority=100, fwmark=1, fwmask=dice.pick((0xFFFFFFFF, 1)), table=100),
        PolicyRuleSpec(priority=110, source=network, source_len=length, table=100),
        PolicyRuleSpec(priority=120, iif=port, table=100),
        PolicyRuleSpec(priority=130, tos=0x10, table=100),
        PolicyRuleSpec(priority=140, fwmark=2, fwmask=0xFFFFFFFF, action=dice.pick(
            ("blackhole", "unreachable", "prohibit"))),
        PolicyRuleSpec(priority=150, destination=network, destination_len=length, table=100),
    ]  # fmt: skip
    rules += dice.some(choices, 50)
    maker.main.policy_rules = sorted(rules, key=lambda rule: rule.priority)
    gateway_routes = [route for route in maker.main.routes if route.nexthops]
    for route in gateway_routes[:1]:
        kind = dice.weighted([(4, "unicast"), (1, "blackhole"), (1, "throw")])
        whole = dice.chance(70)
        maker.main.routes.append(
            RouteSpec(
                prefix=bytes(4) if whole else route.prefix,
                prefix_len=0 if whole else route.prefix_len,
                table=100,
                kind=kind,
                nexthops=route.nexthops if kind == "unicast" else (),
            )
        )


def _broadcast(network: bytes, length: int) -> bytes:
    number = int.from_bytes(network, "big") | ((1 << (32 - length)) - 1)
    return number.to_bytes(4, "big")
