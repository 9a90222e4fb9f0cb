"""A random node and the machines around it.

The node has two to four ports: some with addresses, some under a bridge, maybe a pod namespace
behind the bridge. Around it live hosts that answer ARP (or do not), each behind one port.
"""

from __future__ import annotations

from msgspec import Struct, field

from netemu.livekernel.generate.dice import Dice
from netemu.livekernel.generate.settings import (
    SINGLE_ACKS,
    random_listeners,
    random_settings,
    short_timeouts,
)
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
    TextFile,
)
from netemu.wire.address import format_address, network_of, parse_address, parse_prefix

VIPS = tuple(parse_address(text) for text in ("10.96.0.1", "10.96.0.10", "10.96.7.7"))
"""Addresses that nobody has: services, for DNAT."""

FAR_NETS = ("198.51.100.0/24", "203.0.113.0/24", "10.50.0.0/16")
"""Networks behind gateways."""

HASTY_PERCENT = 8
"""Share of nodes whose timeouts are short: each costs seconds."""

SERVICE_PORTS = (80, 443, 53, 8080, 30080)
CLIENT_PORTS = (40000, 40001, 33333, 1023, 600, 5353, 65535)

POD_RULES = (
    """*raw
:PREROUTING ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A PREROUTING -j TRACE
-A OUTPUT -j TRACE
COMMIT
*filter
:INPUT DROP [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A INPUT -p tcp -m multiport --dports 80,8080 -j ACCEPT
-A INPUT -p icmp -j ACCEPT
-A INPUT -j REJECT
COMMIT
""",
    """*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
-A PREROUTING -p tcp -j REDIRECT --to-ports 8080
-A PREROUTING -p udp -m udp --dport 53 -j REDIRECT --to-ports 5353
COMMIT
""",
)
"""What a side-car sets up in its pod."""

LOOPBACK = LinkSpec(name="lo", ifindex=1, kind="loopback", mtu=65536, noarp=True)
LOOPBACK_ADDRESS = AddressSpec(
    device="lo", address=parse_address("127.0.0.1"), prefix_len=8, scope="host"
)


class Host(Struct, frozen=True, kw_only=True):
    """A machine outside the node."""

    address: bytes
    mac: bytes
    port: str
    """Port of the node that it is behind."""
    answers_arp: bool = True
    gateway: bool = False
    """Whether networks behind it answer through it."""


class Connection(Struct, frozen=True, kw_only=True):
    """A connection that the node already tracks: who began it, and where it really goes."""

    protocol: str
    host: Host
    target: bytes
    reached: Host
    """Machine that answers: `target` has been translated to it, or is its address."""
    src_port: int
    dst_port: int

    def row(self, dice: Dice) -> str:
        """Return it as conntrack -L prints it."""
        state = " ESTABLISHED" if self.protocol == "tcp" else ""
        number = 6 if self.protocol == "tcp" else 17
        source, target, reached = (
            format_address(address)
            for address in (self.host.address, self.target, self.reached.address)
        )
        unreplied = " [UNREPLIED]" if self.protocol == "udp" and dice.chance(40) else ""
        assured = "" if unreplied else " [ASSURED]"
        return (
            f"{self.protocol}      {number} {dice.between(20, 400)}{state} src={source} "
            f"dst={target} sport={self.src_port} dport={self.dst_port}{unreplied} "
            f"src={reached} dst={source} sport={self.dst_port} dport={self.src_port}{assured} "
            f"mark={dice.pick((0, 0, 1, 0x4000))} use=1\n"
        )


class World(Struct):
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
    connections: list[Connection] = field(default_factory=list)
    """Connections that the node already knows."""
    hasty: bool = False
    """Whether timeouts are a few seconds, so that waiting for them is worth while."""

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
        [
            (4, _router),
            (6, _bridge_node),
            (2, _bridge_firewall),
            (2, _plain_host),
            (1, _two_bridges),
        ]
    )
    layout(maker)
    _extra_addresses(maker)
    _routes(maker)
    _neighbours(maker)
    maker.main.sysctls = random_settings(dice, maker.main.links)
    maker.world.hasty = dice.chance(HASTY_PERCENT)
    if maker.world.hasty:
        maker.main.sysctls |= short_timeouts(dice)
    maker.main.sockets = random_listeners(dice, SERVICE_PORTS)
    _connections(maker)
    if dice.chance(25):
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
    for number in range(maker.dice.weighted([(5, 0), (4, 1), (2, 2)])):
        _pod(maker, bridge, number)


def _bridge_firewall(maker: _Maker) -> None:
    bridge = _bridge(maker, "br0", "10.1.0.1/24")
    for number in range(maker.dice.between(2, 3)):
        name = f"eth{number}"
        _bridge_port(maker, bridge, name)
        gateway = 254 if number == 0 else 0
        maker.hosts(name, parse_address("10.1.0.0"), [10 + number, gateway or 20], gateway=gateway)
    if maker.dice.chance(40):
        _routed_port(maker, 3)


def _two_bridges(maker: _Maker) -> None:
    """A port under one bridge, another under a second one, and a cable between the bridges.

    The ends of the cable have no hairpin, else a broadcast would go to and fro for ever.
    """
    first = _bridge(maker, "br0", "10.1.0.1/24")
    second = _bridge(maker, "br1", "10.2.0.1/24")
    for name, bridge, network in (("eth0", first, "10.1.0.0"), ("eth1", second, "10.2.0.0")):
        _bridge_port(maker, bridge, name)
        maker.hosts(name, parse_address(network), [10, 254], gateway=254)
    index = maker.index
    _bridge_port(maker, first, "cable0", hairpin=False, peer_ifindex=index + 2)
    _bridge_port(maker, second, "cable1", hairpin=False, peer_ifindex=index + 1)


def _bridge(maker: _Maker, name: str, address: str) -> LinkSpec:
    options = {"mcast_snooping": maker.dice.weighted([(2, 1), (1, 0)])}
    if maker.dice.chance(10):
        options["nf_call_iptables"] = 1
    link = maker.link(name, kind="bridge", bridge=options, mtu=1500)
    if maker.dice.chance(95):
        maker.address(name, address)
    return link


def _bridge_port(
    maker: _Maker, bridge: LinkSpec, name: str, *, hairpin: bool = True, **more: object
) -> LinkSpec:
    port: dict[str, int] = {}
    if hairpin and maker.dice.chance(50):
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


def _pod(maker: _Maker, bridge: LinkSpec, number: int) -> None:
    """Add a namespace behind the bridge, with address 10.244.0.100 or the next."""
    dice = maker.dice
    name = f"pod{number}"
    own = LinkSpec(
        name="eth0",
        ifindex=2,
        kind="veth",
        mac=mac(0x40, number),
        peer_ifindex=maker.index + 1,
        peer_netnsid=0,
    )
    outer = _bridge_port(maker, bridge, f"veth{name}", peer_ifindex=2, peer_netnsid=number)
    assert outer.ifindex == own.peer_ifindex
    address = bytes((10, 244, 0, 100 + number))
    gateway = NexthopSpec(device="eth0", gateway=parse_address("10.244.0.1"))
    pod = NamespaceSpec(
        name=name,
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
        routes=[RouteSpec(prefix=bytes(4), prefix_len=0, nexthops=(gateway,))],
        sysctls=dict(SINGLE_ACKS),
        sockets=random_listeners(dice, SERVICE_PORTS),
        netns_ids={0: ""},
    )
    if dice.chance(25):
        pod.sysctls["net.ipv4.icmp_echo_ignore_all"] = "0"
        pod.rules4 = TextFile(name="iptables-save", text=dice.pick(POD_RULES))
    maker.main.netns_ids[number] = name
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


def _connections(maker: _Maker) -> None:
    """Let the node track some connections already, one in ten nodes."""
    dice, world = maker.dice, maker.world
    if not dice.chance(10) or len(world.hosts) < 2:
        return
    for number in range(dice.between(1, 3)):
        host, reached = dice.pick(world.hosts), dice.pick(world.hosts)
        if host is reached:
            continue
        world.connections.append(
            Connection(
                protocol=dice.pick(("tcp", "udp")),
                host=host,
                target=dice.pick((reached.address, VIPS[0])),
                reached=reached,
                src_port=41000 + number,
                dst_port=dice.pick(SERVICE_PORTS),
            )
        )
    rows = "".join(connection.row(dice) for connection in world.connections)
    maker.main.conntrack = TextFile(name="conntrack_-L", text=rows)


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
