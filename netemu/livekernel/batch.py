"""A node written as commands of ip(8) and bridge(8), one per line, for their `-batch` mode.

Theory of operation: pure text, nothing is run here. Order matters: devices before addresses,
addresses before routes; ports join their bridge in order of ifindex, since a bridge floods to the
newest port first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from netemu.livekernel.case import (
    find_lowers,
    find_vxlans,
    find_wires,
    port_keys,
    split_device,
)
from netemu.sim.spec import (
    AddressSpec,
    FdbSpec,
    LinkSpec,
    NamespaceSpec,
    NeighbourSpec,
    NodeSpec,
    PolicyRuleSpec,
    RouteSpec,
)
from netemu.wire.address import format_address, format_mac

FAR_MTU = 65535
"""MTU of the far ends of ports: every frame that the node sends gets through."""

FAR_INDEX = 1000
"""ifindex of the first far end: iproute2 6.1 hands on a peer's index only beside an own one."""

BRIDGE_OPTIONS = {
    "ageing_time": "ageing_time",
    "stp_state": "stp_state",
    "forward_delay": "forward_delay",
    "mcast_snooping": "mcast_snooping",
    "nf_call_iptables": "nf_call_iptables",
    "nf_call_ip6tables": "nf_call_ip6tables",
    "nf_call_arptables": "nf_call_arptables",
    "group_fwd_mask": "group_fwd_mask",
    "mcast_querier": "mcast_querier",
    "mcast_membership_intvl": "mcast_membership_interval",
    "mcast_querier_intvl": "mcast_querier_interval",
    "mcast_last_member_intvl": "mcast_last_member_interval",
    "mcast_last_member_cnt": "mcast_last_member_count",
    "mcast_query_response_intvl": "mcast_query_response_interval",
    "mcast_router": "mcast_router",
    "no_linklocal_learn": "no_linklocal_learn",
    "vlan_filtering": "vlan_filtering",
    "vlan_default_pvid": "vlan_default_pvid",
}
"""Keys of `LinkSpec.bridge` that ip(8) sets, and its words for them."""

PORT_OPTIONS = {
    "hairpin": "hairpin",
    "isolated": "isolated",
    "learning": "learning",
    "flood": "flood",
    "bcast_flood": "bcast_flood",
    "mcast_flood": "mcast_flood",
    "locked": "locked",
    "fastleave": "fastleave",
}
"""Keys of `LinkSpec.port` that are on or off, as ip(8) names them."""

MULTICAST_NIBBLE = 14
"""First half octet of 224.0.0.0/4."""

TABLE_LOCAL = 255

_VLAN_PROTOCOLS = {0x8100: "802.1Q", 0x88A8: "802.1ad"}


def device_lines(node: NodeSpec, paths: Mapping[str, str], helper: str) -> dict[str, list[str]]:
    """Make all devices, by namespace in which the line is run, in order of ifindex.

    The order counts: where any address will do the kernel takes the first device's. The far ends
    of ports come into the namespace of path `helper`.
    """
    lines: dict[str, list[tuple[int, str]]] = {space.name: [] for space in node.namespaces()}
    for space in node.namespaces():
        for link in space.links:
            if link.kind == "bridge":
                lines[space.name].append((link.ifindex, _bridge_line(link)))
            elif link.kind == "dummy":
                line = f"link add {_identity(link)} type dummy"
                lines[space.name].append((link.ifindex, line))
    for wire in find_wires(node):
        (here, one), (there, other) = wire.one, wire.other
        if here == there and one.ifindex < other.ifindex:
            one, other = other, one  # the peer is registered first
        line = f"link add {_identity(one)} type veth peer {_identity(other)} netns {paths[there]}"
        lines[here].append(
            (min(one.ifindex, other.ifindex) if here == there else one.ifindex, line)
        )
    for number, key in enumerate(port_keys(node)):
        name, device = split_device(key)
        link = _link(node, name, device)
        far = f"name far{number} index {FAR_INDEX + number} mtu {FAR_MTU} netns {helper}"
        lines[name].append((link.ifindex, f"link add {_identity(link)} type veth peer {far}"))
    return {name: [line for _, line in sorted(found)] for name, found in lines.items()}


def upper_lines(node: NodeSpec, paths: Mapping[str, str]) -> dict[str, list[str]]:
    """Make the devices that stand above others, by namespace in which the line is run.

    A device is made where the one below it is, and may be put into another namespace at once.
    """
    lines: dict[str, list[str]] = {space.name: [] for space in node.namespaces()}
    waiting = find_lowers(node)
    while waiting:
        pending = {(name, link.name) for (name, link), _ in waiting}
        ready = [pair for pair in waiting if (pair[1][0], pair[1][1].name) not in pending]
        for (here, link), (there, lower) in ready:
            netns = f" netns {paths[here]}" if here != there else ""
            line = f"link add {_identity(link)} link {lower.name}{netns} {_upper_kind(link)}"
            lines[there].append(line)
        waiting = [pair for pair in waiting if pair not in ready] if ready else []
    for space, link, carrier, lower_name in find_vxlans(node):
        netns = f" netns {paths[space]}" if space != carrier else ""
        line = f"link add {_identity(link)}{netns} {_vxlan_kind(link, lower_name)}"
        lines[carrier].append(line)
    return lines


def _vxlan_kind(link: LinkSpec, lower: str) -> str:
    vxlan = link.vxlan
    assert vxlan is not None
    words = [f"type vxlan id {vxlan.vni} dstport {vxlan.port} ageing {vxlan.ageing_s}"]
    if vxlan.remote:
        grouped = vxlan.remote[0] >> 4 == MULTICAST_NIBBLE
        words.append(f"{'group' if grouped else 'remote'} {format_address(vxlan.remote)}")
    words += [f"local {format_address(vxlan.local)}"] if vxlan.local else []
    words += [f"dev {lower}"] if lower else []
    words += [f"srcport {vxlan.src_ports[0]} {vxlan.src_ports[1]}"] if any(vxlan.src_ports) else []
    words.append("learning" if vxlan.learning else "nolearning")
    words.append(f"ttl {'inherit' if vxlan.ttl_inherit else vxlan.ttl or 'auto'}")
    words += [f"tos {'inherit' if vxlan.tos == 1 else hex(vxlan.tos)}"] if vxlan.tos else []
    words += [f"df {vxlan.df}", "udpcsum" if vxlan.checksum else "noudpcsum"]
    return " ".join(words)


def _upper_kind(link: LinkSpec) -> str:
    if link.macvlan is not None:
        return f"type macvlan mode {link.macvlan.mode}"
    vlan = link.vlan
    assert vlan is not None
    words = [f"type vlan proto {_VLAN_PROTOCOLS[vlan.protocol]} id {vlan.vid}"]
    words.append(f"reorder_hdr {'on' if vlan.reorder_header else 'off'}")
    for word, pairs in (("ingress", vlan.ingress_qos), ("egress", vlan.egress_qos)):
        if pairs:
            words.append(f"{word}-qos-map {' '.join(f'{one}:{two}' for one, two in pairs)}")
    return " ".join(words)


def far_lines(node: NodeSpec) -> list[str]:
    """Bring the far ends of ports up, in the helper namespace."""
    return [
        f"link set dev far{number} {'up' if _carrier(node, key) else 'down'} arp off promisc on"
        for number, key in enumerate(port_keys(node))
    ]


def _carrier(node: NodeSpec, key: str) -> bool:
    return _link(node, *split_device(key)).carrier


def _bridge_line(link: LinkSpec) -> str:
    options = "".join(
        f" {word} {link.bridge[key]}" for key, word in BRIDGE_OPTIONS.items() if key in link.bridge
    )
    if "vlan_protocol" in link.bridge:
        options += f" vlan_protocol {_VLAN_PROTOCOLS[link.bridge['vlan_protocol']]}"
    return f"link add {_identity(link)} type bridge{options}"


def _identity(link: LinkSpec) -> str:
    mac = "" if link.mac == bytes(6) else f" address {format_mac(link.mac)}"
    return f"name {link.name} index {link.ifindex} mtu {link.mtu}{mac}"


def _link(node: NodeSpec, namespace: str, device: str) -> LinkSpec:
    return next(
        link
        for space in node.namespaces()
        if space.name == namespace
        for link in space.links
        if link.name == device
    )


def set_up(space: NamespaceSpec) -> list[str]:
    """Enslave ports and bring devices up."""
    lines: list[str] = []
    for link in sorted(space.links, key=lambda link: link.ifindex):
        if link.master:
            lines.append(f"link set dev {link.name} master {link.master}")
            flags = [
                f" {word} {'on' if link.port[key] else 'off'}"
                for key, word in PORT_OPTIONS.items()
                if key in link.port
            ]
            if "multicast_router" in link.port:
                flags.append(f" mcast_router {link.port['multicast_router']}")
            if flags:
                lines.append(f"link set dev {link.name} type bridge_slave{''.join(flags)}")
        if link.kind == "dummy":
            lines.append(f"link set dev {link.name} arp {'off' if link.noarp else 'on'}")
        elif link.noarp and link.kind != "loopback" and link.name != "lo":
            lines.append(f"link set dev {link.name} arp off")
        if link.up:
            lines.append(f"link set dev {link.name} up")
    return lines


def bridges_with_mac(space: NamespaceSpec) -> list[str]:
    """Give bridges their MAC again: enslaving ports may have changed it, an own one stays."""
    return [
        f"link set dev {link.name} address {format_mac(link.mac)} mtu {link.mtu}"
        for link in space.links
        if link.kind == "bridge" and link.mac != bytes(6)
    ]


def address_lines(space: NamespaceSpec) -> list[str]:
    """Add the addresses in order, so that secondary ones become secondary."""
    return [
        _address_line(address)
        for address in space.addresses
        if not (address.device == "lo" and address.address == b"\x7f\x00\x00\x01")
    ]


def _address_line(address: AddressSpec) -> str:
    text = format_address(address.address)
    peer = f" peer {format_address(address.peer)}" if address.peer else ""
    broadcast = f" broadcast {format_address(address.broadcast)}" if address.broadcast else ""
    return (
        f"address add {text}{peer}/{address.prefix_len}{broadcast}"
        f" scope {address.scope} dev {address.device}"
    )


def route_line(route: RouteSpec, verb: str) -> str:
    """Return the line that adds or deletes a route."""
    kind = "" if route.kind == "unicast" else f"{route.kind} "
    words = [f"route {verb} {kind}{format_address(route.prefix)}/{route.prefix_len}"]
    words.append(f"table {route.table}")
    if route.tos:
        words.append(f"tos {route.tos:#x}")
    if route.metric:
        words.append(f"metric {route.metric}")
    if route.protocol:
        words.append(f"protocol {route.protocol}")
    if route.scope != "global":
        words.append(f"scope {route.scope}")
    if route.source:
        words.append(f"src {format_address(route.source)}")
    if route.mtu:
        words.append(f"mtu {route.mtu}")
    ways = [
        (f"via {format_address(hop.gateway)} " if hop.gateway else "")
        + (f"dev {hop.device}" if hop.device else "")
        + (" onlink" if hop.onlink else "")
        for hop in route.nexthops
    ]
    if len(ways) == 1:
        words.append(ways[0])
    else:
        words += [
            f"nexthop {way} weight {hop.weight}"
            for way, hop in zip(ways, route.nexthops, strict=True)
        ]
    return " ".join(words)


def rule_lines(space: NamespaceSpec) -> list[str]:
    """Replace the kernel's three policy rules by those of the namespace."""
    if space.policy_rules is None:
        return []
    kept = [rule for rule in space.policy_rules if _is_default(rule)]
    lines = [
        f"rule del priority {priority}"
        for priority in (0, 32766, 32767)
        if priority not in {rule.priority for rule in kept}
    ]
    lines += [_rule_line(rule) for rule in space.policy_rules if rule not in kept]
    return lines


def _is_default(rule: PolicyRuleSpec) -> bool:
    return rule in {
        PolicyRuleSpec(priority=0, table=TABLE_LOCAL),
        PolicyRuleSpec(priority=32766, table=254),
        PolicyRuleSpec(priority=32767, table=253),
    }


def _rule_line(rule: PolicyRuleSpec) -> str:
    words = [f"rule add {'not ' if rule.invert else ''}priority {rule.priority}"]
    if rule.source_len:
        words.append(f"from {format_address(rule.source)}/{rule.source_len}")
    if rule.destination_len:
        words.append(f"to {format_address(rule.destination)}/{rule.destination_len}")
    if rule.iif:
        words.append(f"iif {rule.iif}")
    if rule.oif:
        words.append(f"oif {rule.oif}")
    if rule.fwmask:
        words.append(f"fwmark {rule.fwmark:#x}/{rule.fwmask:#x}")
    if rule.tos:
        words.append(f"tos {rule.tos:#x}")
    if rule.protocol:
        words.append(f"ipproto {rule.protocol}")
    for word, ports in (("sport", rule.source_ports), ("dport", rule.destination_ports)):
        if ports is not None:
            words.append(f"{word} {ports[0]}-{ports[1]}")
    if rule.action == "table":
        words.append(f"table {rule.table}")
    elif rule.action == "goto":
        words.append(f"goto {rule.goto}")
    else:
        words.append(rule.action)
    if rule.suppress_prefix_len is not None:
        words.append(f"suppress_prefixlength {rule.suppress_prefix_len}")
    return " ".join(words)


def neighbour_lines(neighbours: Iterable[NeighbourSpec]) -> list[str]:
    """Add the entries that can be added: multicast ones and unanswered requests cannot."""
    lines: list[str] = []
    for entry in neighbours:
        if entry.state in {"NOARP", "INCOMPLETE", "NONE", "FAILED"} or not entry.mac:
            continue
        lines.append(
            f"neigh replace {format_address(entry.address)} lladdr {format_mac(entry.mac)}"
            f" dev {entry.device} nud {entry.state.lower()}"
        )
    return lines


def proxy_lines(space: NamespaceSpec) -> list[str]:
    """Add the addresses that the node answers ARP for."""
    return [
        f"neigh add proxy {format_address(entry.address)} dev {entry.device}"
        for entry in space.proxies
        if entry.device
    ]


def fdb_lines(space: NamespaceSpec) -> list[str]:
    """Add bridge forwarding entries; a device's own and multicast ones are there already."""
    own = {link.mac for link in space.links}
    return [
        _fdb_line(entry)
        for entry in space.fdb
        if entry.bridge and entry.mac not in own and not entry.mac[0] & 1
        if not entry.vlan or filters_vlans(space)
    ]


def filters_vlans(space: NamespaceSpec) -> bool:
    """Return whether a bridge looks at VLANs; a kernel may be built without them."""
    return any(link.bridge.get("vlan_filtering") for link in space.links)


def bridge_vlan_lines(space: NamespaceSpec) -> list[str]:
    """Turn the VLANs that ports have from the start into those wanted."""
    if space.bridge_vlans is None or not filters_vlans(space):
        return []
    bridges = {link.name for link in space.links if link.kind == "bridge"}
    defaults = {
        link.name: link.bridge.get("vlan_default_pvid", 1)
        for link in space.links
        if link.kind == "bridge"
    }
    lines: list[str] = []
    for link in space.links:
        default = defaults.get(link.name) or defaults.get(link.master)
        if default:
            own = " self" if link.name in bridges else ""
            lines.append(f"vlan del dev {link.name} vid {default}{own}")
    for entry in space.bridge_vlans:
        words = f"vlan add dev {entry.device} vid {entry.vid}"
        words += (" pvid" if entry.pvid else "") + (" untagged" if entry.untagged else "")
        lines.append(words + (" self" if entry.device in bridges else ""))
    return lines


def mdb_lines(space: NamespaceSpec) -> list[str]:
    """Add the memberships that can be added; routers are heard, not set."""
    return [
        f"mdb add dev {entry.bridge} port {entry.device} grp {format_address(entry.group)}"
        + ((" permanent" if entry.permanent else " temp") if entry.device != entry.bridge else "")
        + (f" vid {entry.vlan}" if entry.vlan else "")
        for entry in space.mdb
        if entry.group
    ]


def vxlan_fdb_lines(space: NamespaceSpec) -> list[str]:
    """Add the hosts of VXLAN tables, in the order in which copies are sent to them."""
    lines: list[str] = []
    for entry in space.vxlan_fdb:
        words = f"fdb append {format_mac(entry.mac)} dev {entry.device}"
        words += f" dst {format_address(entry.dst)} self"
        words += f" port {entry.port}" if entry.port else ""
        words += f" vni {entry.vni}" if entry.vni else ""
        words += f" via {entry.via}" if entry.via else ""
        state = {"permanent": "local", "static": "static"}.get(entry.state, "dynamic")
        lines.append(f"{words} {state}")
    return lines


def _fdb_line(entry: FdbSpec) -> str:
    state = {"permanent": "local", "static": "static"}.get(entry.state, "dynamic")
    vlan = f" vlan {entry.vlan}" if entry.vlan else ""
    return f"fdb replace {format_mac(entry.mac)} dev {entry.device} master {state}{vlan}"
