"""What a node is made of, as plain values: what a snapshot says and a namespace is built from.

The snapshot reader and the live-kernel driver both speak this, so that netemu and the kernel are
always given the same node. Addresses are packed bytes (4 or 16); MACs are 6 bytes.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct, field
from msgspec.structs import replace


class VlanSpec(Struct, frozen=True, kw_only=True):
    """What an 802.1Q device is (`info_kind` vlan); the device below is `LinkSpec.peer_ifindex`."""

    vid: int
    protocol: int = 0x8100
    """Ethertype of the tag: 0x8100 (802.1Q) or 0x88a8 (802.1ad)."""
    reorder_header: bool = True
    """The tag of a received frame is taken off (REORDER_HDR)."""
    ingress_qos: tuple[tuple[int, int], ...] = ()
    """Priority of the tag -> skb->priority."""
    egress_qos: tuple[tuple[int, int], ...] = ()
    """skb->priority -> priority of the tag."""


class MacvlanSpec(Struct, frozen=True, kw_only=True):
    """What a macvlan device is; the device below is `LinkSpec.peer_ifindex`."""

    mode: str = "vepa"
    """private vepa bridge passthru."""


class VxlanSpec(Struct, frozen=True, kw_only=True):
    """What a VXLAN device is; the device that it sends by, if told, is `LinkSpec.peer_ifindex`."""

    vni: int
    remote: bytes = b""
    """Where frames to unknown MACs go: a host or a group; empty: nowhere."""
    local: bytes = b""
    """Source address; empty: the route's."""
    port: int = 8472
    src_ports: tuple[int, int] = (0, 0)
    """Source ports are drawn from low up to but not including high; (0, 0): as of programs."""
    learning: bool = True
    ageing_s: int = 300
    ttl: int = 0
    """0: as of any packet of the node."""
    ttl_inherit: bool = False
    tos: int = 0
    """1: that of the packet inside."""
    df: str = "unset"
    """unset set inherit."""
    checksum: bool = True
    localbypass: bool = True
    """A frame for another VXLAN device of the node goes there at once (since Linux 6.5)."""


class LinkSpec(Struct, frozen=True, kw_only=True):
    """One device, as `ip -j -d link show` gives it."""

    name: str
    ifindex: int
    kind: str = ""
    """linkinfo.info_kind ("veth", "bridge", "vxlan", ...), "loopback" for lo, "" for hardware."""
    mac: bytes = bytes(6)
    mtu: int = 1500
    up: bool = True
    carrier: bool = True
    noarp: bool = False
    master: str = ""
    """Bridge that it is a port of."""
    peer_ifindex: int = 0
    """link_index: the other end of a veth pair, the device below a VLAN or macvlan; 0: unknown."""
    peer_netnsid: int | None = None
    """link_netnsid: namespace of the peer, None for the same namespace."""
    bridge: dict[str, int] = field(default_factory=dict)
    """Bridge options of info_data: ageing_time (1/100 s), vlan_filtering, nf_call_iptables, ..."""
    port: dict[str, int] = field(default_factory=dict)
    """Port options of info_slave_data: state, hairpin, isolated, learning, flood, ..."""
    vlan: VlanSpec | None = None
    macvlan: MacvlanSpec | None = None
    vxlan: VxlanSpec | None = None


class AddressSpec(Struct, frozen=True, kw_only=True):
    """One address of a device."""

    device: str
    address: bytes
    prefix_len: int
    broadcast: bytes = b""
    scope: str = "global"
    """global site link host, or a number."""
    secondary: bool = False
    peer: bytes = b""
    """Remote end of a point-to-point address (`ip addr add A peer B`); empty otherwise."""


class NexthopSpec(Struct, frozen=True, kw_only=True):
    """One way of a route."""

    device: str
    gateway: bytes = b""
    weight: int = 1
    onlink: bool = False


class RouteSpec(Struct, frozen=True, kw_only=True):
    """One route of `ip -j route show table all`."""

    prefix: bytes
    prefix_len: int
    kind: str = "unicast"
    """unicast local broadcast multicast anycast blackhole unreachable prohibit throw."""
    table: int = 254
    """254 main, 255 local, 253 default."""
    nexthops: tuple[NexthopSpec, ...] = ()
    source: bytes = b""
    """prefsrc; empty when the route names none."""
    metric: int = 0
    scope: str = "global"
    protocol: str = ""
    tos: int = 0
    mtu: int = 0


class PolicyRuleSpec(Struct, frozen=True, kw_only=True):
    """One policy rule of `ip -j rule show`."""

    priority: int
    source: bytes = b""
    source_len: int = 0
    destination: bytes = b""
    destination_len: int = 0
    iif: str = ""
    oif: str = ""
    fwmark: int = 0
    fwmask: int = 0
    """0 when the rule does not look at the mark."""
    tos: int = 0
    action: str = "table"
    """table goto nop blackhole unreachable prohibit."""
    table: int = 254
    goto: int = 0
    invert: bool = False
    protocol: int = 0
    source_ports: tuple[int, int] | None = None
    destination_ports: tuple[int, int] | None = None
    suppress_prefix_len: int | None = None


class NeighbourSpec(Struct, frozen=True, kw_only=True):
    """One neighbour entry."""

    device: str
    address: bytes
    mac: bytes = b""
    state: str = "REACHABLE"


class ProxySpec(Struct, frozen=True, kw_only=True):
    """An address that the node answers ARP for (`ip neigh add proxy`)."""

    address: bytes
    device: str = ""
    """Empty: on any."""


class FdbSpec(Struct, frozen=True, kw_only=True):
    """One bridge forwarding entry."""

    bridge: str
    device: str
    mac: bytes
    state: str = ""
    """permanent static stale, or empty for a learnt one."""
    vlan: int = 0


class VxlanFdbSpec(Struct, frozen=True, kw_only=True):
    """One entry of a VXLAN device's own table: the host behind which a MAC is."""

    device: str
    mac: bytes
    dst: bytes
    port: int = 0
    """0: the device's own."""
    vni: int = 0
    via: str = ""
    """Device that the outer packet leaves by; empty: as the route says."""
    state: str = ""
    """permanent static, or empty for a learnt one."""


class MdbSpec(Struct, frozen=True, kw_only=True):
    """A membership in a multicast group (`bridge mdb show`), or a port with a router behind it."""

    bridge: str
    device: str
    """The port, or the bridge itself."""
    group: bytes = b""
    """Empty: a router is there."""
    vlan: int = 0
    permanent: bool = False


class BridgeVlanSpec(Struct, frozen=True, kw_only=True):
    """A VLAN that a bridge port, or the bridge itself, is a member of (`bridge vlan show`)."""

    device: str
    vid: int
    pvid: bool = False
    """Untagged frames that come in belong to it."""
    untagged: bool = False
    """Its frames leave without their tag."""


class SocketSpec(Struct, frozen=True, kw_only=True):
    """One listening socket of `ss -Htuln`."""

    protocol: str
    """tcp or udp."""
    address: bytes
    """All zero for a wildcard socket."""
    port: int
    device: str = ""
    program: str = ""
    """What the program behind it does (sim/programs.py); empty: nobody knows."""
    text: str = ""
    """What the program answers with, where it can be chosen."""


class WireSpec(Struct, frozen=True, kw_only=True):
    """What the cable between the two ends of a pair does to frames, in both directions."""

    one: str
    """`NS/DEV`, or `DEV` in the main namespace."""
    other: str
    delay_ns: int = 0
    jitter_ns: int = 0
    loss: float = 0.0
    """Probability, as the next two."""
    duplicate: float = 0.0
    reorder: float = 0.0
    rate_bps: int = 0
    """Bits per second; 0: a frame takes no time."""


class TextFile(Struct, frozen=True, kw_only=True):
    """A file's name, for messages, and its text."""

    name: str
    text: str


class NamespaceSpec(Struct, kw_only=True):
    """One network namespace: a node's main one (name "") or one below `netns/`."""

    name: str = ""
    links: list[LinkSpec] = field(default_factory=list)
    addresses: list[AddressSpec] = field(default_factory=list)
    routes: list[RouteSpec] = field(default_factory=list)
    policy_rules: list[PolicyRuleSpec] | None = None
    """None: the kernel's three (0 local, 32766 main, 32767 default)."""
    neighbours: list[NeighbourSpec] = field(default_factory=list)
    proxies: list[ProxySpec] = field(default_factory=list)
    fdb: list[FdbSpec] = field(default_factory=list)
    vxlan_fdb: list[VxlanFdbSpec] = field(default_factory=list)
    mdb: list[MdbSpec] = field(default_factory=list)
    bridge_vlans: list[BridgeVlanSpec] | None = None
    """None: not told, so that every port is in the bridge's default VLAN."""
    sysctls: dict[str, str] = field(default_factory=dict)
    rules4: TextFile | None = None
    """iptables-save text of the backend that is evaluated."""
    rules6: TextFile | None = None
    backend: str = "legacy"
    """legacy or nft: which printing rules the text follows."""
    ipset: TextFile | None = None
    ipvs: TextFile | None = None
    modules: tuple[str, ...] = ()
    """Kernel modules that were loaded by hand and change something here: ip_vs_ftp."""
    conntrack: TextFile | None = None
    sockets: list[SocketSpec] | None = None
    """None: no `ss` file, so nothing listens and the output says so."""
    netns_ids: dict[int, str] = field(default_factory=dict)
    """link_netnsid -> name of the namespace below `netns/`."""
    later: Callable[[], NamespaceSpec] | None = None
    """Returns rules, and what goes with them, when an IPv4 packet first reaches a hook."""


class NodeSpec(Struct, kw_only=True):
    """A whole node: its main namespace, its other ones, and what was assumed or is missing."""

    main: NamespaceSpec
    others: list[NamespaceSpec] = field(default_factory=list)
    wires: list[WireSpec] = field(default_factory=list)
    """Cables that are not perfect."""
    notes: list[str] = field(default_factory=list)
    """One sentence each: what was missing and what that disables, what was assumed."""
    source: str = ""
    """File or directory that it was read from."""
    assumed: bool = False
    """Devices, addresses and routes were made up, since there are rules only."""

    @property
    def is_lab(self) -> bool:
        """Whether it is a lab: several hosts, whose main namespaces have their names."""
        return bool(self.main.name)

    def is_of_host(self, namespace: str) -> bool:
        """Whether a namespace belongs to the node: all do, or in a lab those of the host."""
        return not self.is_lab or namespace.partition("/")[0] == self.main.name

    def seen_from(self, host: str) -> NodeSpec:
        """Return a lab with another host as its main namespace."""
        spaces = sorted(self.namespaces(), key=lambda space: space.name != host)
        return replace(self, main=spaces[0], others=spaces[1:])

    def namespaces(self) -> list[NamespaceSpec]:
        """Return all namespaces, the main one first."""
        return [self.main, *self.others]
