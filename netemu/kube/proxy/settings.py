"""What a node's kube-proxy goes by: its configuration, its node, its version.

Source: cmd/kube-proxy/app/server.go, pkg/proxy/apis/config/v1alpha1/defaults.go,
pkg/proxy/util/localdetector.go, nodeport_addresses.go (Kubernetes 1.30).
"""

from __future__ import annotations

from msgspec import Struct

from netemu.errors import InputError
from netemu.kube.cluster import Cluster
from netemu.kube.objects import Node
from netemu.kube.proxy.version import DEFAULT_VERSION, ProxyVersion, parse_version
from netemu.kube.service_ports import IPV4, is_family, is_prefix_family
from netemu.wire.address import in_prefix, ipv4_is_loopback, parse_address, parse_prefix

ZONE_LABEL = "topology.kubernetes.io/zone"
MASQUERADE_BIT = 14
LARGEST_BIT = 31
PRIMARY = "primary"
"""In `nodePortAddresses`: the node's own address."""


class ProxySettings(Struct, frozen=True, kw_only=True):
    """All that rules hang on besides Services and endpoints, for one family."""

    octets: int
    """4 or 16: the family, as the octets of an address."""
    version: ProxyVersion
    node_name: str
    node_ip: str
    local_ips: tuple[str, ...]
    """Addresses of the node's devices, of this family."""
    zone: str
    masquerade_all: bool
    masquerade_bit: int
    localhost_node_ports: bool
    node_port_addresses: tuple[str, ...]
    random_fully: bool
    nfacct: bool
    be_liberal: bool
    detect_local: str
    """iptables arguments that a pod's packet meets (`-s CIDR`, `-i NAME`); empty: nothing tells."""
    detect_not_local: str
    local_range: str
    """The prefix of `detect_local`, if it is one."""
    scheduler: str
    strict_arp: bool

    @property
    def masquerade_mark(self) -> str:
        """The mark as kube-proxy writes it: 0x004000."""
        return f"{1 << self.masquerade_bit:#08x}"

    @property
    def loopback(self) -> str:
        """The family's loopback prefix."""
        return "127.0.0.0/8" if self.octets == IPV4 else "::1/128"

    def node_ports_on_loopback(self) -> bool:
        """Whether NodePorts answer on 127.0.0.1: IPv4 only, and only if the addresses allow it.

        Before 1.26 nothing was said of loopback, in either family.
        """
        if not self.version.has_localhost_option:
            return True
        return self.localhost_node_ports and self.octets == IPV4

    def node_port_ips(self) -> list[str] | None:
        """Return the addresses that NodePorts answer on; None for all that are local."""
        prefixes = [text for text in self.node_port_addresses if text]
        if not prefixes or any(text.endswith("/0") for text in prefixes):
            return None
        ranges = [parse_prefix(text) for text in prefixes]
        allow_loopback = self.node_ports_on_loopback()
        return [
            ip
            for ip in self.local_ips
            if any(in_prefix(parse_address(ip), *item) for item in ranges)
            and (allow_loopback or not is_loopback(ip))
        ]


def is_loopback(ip: str) -> bool:
    """Return whether an address is one of the loopback device's own."""
    address = parse_address(ip)
    return ipv4_is_loopback(address) if len(address) == IPV4 else ip == "::1"


def proxy_settings(
    cluster: Cluster, node_name: str, *, octets: int = IPV4, version: str = DEFAULT_VERSION
) -> ProxySettings:
    """Return what kube-proxy of a node goes by.

    Raises InputError for a configuration that kube-proxy would refuse, or that names a local
    detector which these objects do not tell.
    """
    config = cluster.proxy_config()
    node = _node(cluster, node_name)
    bit = config.iptables.masquerade_bit
    bit = MASQUERADE_BIT if bit is None else bit
    if not 0 <= bit <= LARGEST_BIT:
        raise InputError(f"iptables.masqueradeBit {bit} is out of range; write 0 to {LARGEST_BIT}")
    node_ip = config.x_node_ip if is_family(config.x_node_ip, octets) else ""
    node_ip = node_ip or _internal_ip(node, octets)
    local_ips = [ip for ip in config.x_local_ips or () if is_family(ip, octets)]
    if not config.x_local_ips:
        local_ips = ["127.0.0.1" if octets == IPV4 else "::1", *_node_ips(node, octets)]
    own = f"{node_ip}/{octets * 8}"
    given = (own if text == PRIMARY else text for text in config.node_port_addresses or ())
    addresses = tuple(text for text in given if is_prefix_family(text, octets))
    detect, detect_not, local_range = _detector(cluster, node, octets)
    localhost = config.iptables.localhost_node_ports
    localhost = True if localhost is None else localhost
    return ProxySettings(
        octets=octets,
        version=parse_version(version),
        node_name=node_name,
        node_ip=node_ip,
        local_ips=tuple(dict.fromkeys(local_ips)),
        zone=(node.metadata.labels or {}).get(ZONE_LABEL, "") if node is not None else "",
        masquerade_all=config.iptables.masquerade_all,
        masquerade_bit=bit,
        localhost_node_ports=localhost and _allows_loopback(addresses),
        node_port_addresses=addresses,
        random_fully=config.x_random_fully,
        nfacct=config.x_nfacct,
        be_liberal=config.conntrack.tcp_be_liberal,
        detect_local=detect,
        detect_not_local=detect_not,
        local_range=local_range,
        scheduler=config.ipvs.scheduler or "rr",
        strict_arp=config.ipvs.strict_arp,
    )


def _node(cluster: Cluster, name: str) -> Node | None:
    """Return the node; None for a name that no Node object has, where there are none at all."""
    return cluster.node(name) if cluster.nodes else None


def _node_ips(node: Node | None, octets: int) -> list[str]:
    addresses = node.status.addresses or () if node is not None else ()
    return [item.address for item in addresses if is_family(item.address, octets)]


def _internal_ip(node: Node | None, octets: int) -> str:
    addresses = node.status.addresses or () if node is not None else ()
    internal = [
        item.address
        for item in addresses
        if item.type == "InternalIP" and is_family(item.address, octets)
    ]
    return next(iter([*internal, *_node_ips(node, octets)]), "")


def _allows_loopback(addresses: tuple[str, ...]) -> bool:
    """Return whether `nodePortAddresses` has a loopback address in it (ContainsIPv4Loopback)."""
    if not addresses:
        return True
    prefixes = [parse_prefix(text) for text in addresses]
    return any(
        ipv4_is_loopback(prefix) or length == 0 or in_prefix(bytes((127, 0, 0, 1)), prefix, length)
        for prefix, length in prefixes
        if len(prefix) == IPV4
    )


def _detector(cluster: Cluster, node: Node | None, octets: int) -> tuple[str, str, str]:
    """Return the arguments that a pod's packet meets, those that any other meets, and the range."""
    config = cluster.proxy_config()
    mode = config.detect_local_mode or "ClusterCIDR"
    if mode in {"ClusterCIDR", "NodeCIDR"}:
        if mode == "ClusterCIDR":
            prefixes = [text.strip() for text in config.cluster_cidr.split(",")]
        else:
            spec = node.spec if node is not None else None
            prefixes = [] if spec is None else (spec.pod_cidrs or [spec.pod_cidr])
        mine = [text for text in prefixes if is_prefix_family(text, octets)]
        return (f"-s {mine[0]}", f"! -s {mine[0]}", mine[0]) if mine else ("", "", "")
    if mode == "BridgeInterface":
        name = config.detect_local.bridge_interface
    elif mode == "InterfaceNamePrefix":
        name = f"{config.detect_local.interface_name_prefix}+"
    else:
        raise InputError(
            f"detectLocalMode {mode!r} is not known; write ClusterCIDR, NodeCIDR, BridgeInterface"
            " or InterfaceNamePrefix"
        )
    if name in {"", "+"}:
        raise InputError(f"detectLocalMode {mode} needs the device's name below detectLocal")
    return f"-i {name}", f"! -i {name}", ""
