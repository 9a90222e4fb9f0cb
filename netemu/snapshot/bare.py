"""A node made of a mere iptables-save text.

Devices are those that the rules name, plus lo and an uplink eth0; all but lo are ports. A device
gets a subnet only when the rules themselves place one behind it (`-s 172.17.0.0/16 ! -o docker0`).
An address given with `--addr` takes the place of what was assumed for its device. Everything
assumed is said in the node's notes.
"""

from __future__ import annotations

from netemu.sim.spec import AddressSpec, LinkSpec, NamespaceSpec, NodeSpec, RouteSpec, TextFile
from netemu.snapshot.change import (
    Changes,
    add_device,
    address_spec,
    change_routes,
    change_sysctls,
    parse_addresses,
    route_spec,
)
from netemu.snapshot.implied import implied_routes, last_address
from netemu.snapshot.read_rules import backend_of
from netemu.snapshot.scan import concrete_devices, device_patterns, family_of, subnets
from netemu.wire.address import format_address, in_prefix, network_of, parse_address

UPLINK = "eth0"

UPLINK_ADDRESS = {4: ("192.0.2.1", 24), 6: ("2001:db8::1", 64)}
"""Documentation prefixes: RFC 5737 TEST-NET-1 and RFC 3849."""

GATEWAY = {4: "192.0.2.254", 6: "2001:db8::fe"}

SYSCTLS = {
    "net.ipv4.ip_forward": "1",
    "net.ipv4.conf.all.forwarding": "1",
    "net.ipv4.conf.default.forwarding": "1",
    "net.ipv4.conf.all.rp_filter": "0",
    "net.ipv4.conf.default.rp_filter": "0",
    "net.ipv6.conf.all.forwarding": "1",
    "net.bridge.bridge-nf-call-iptables": "1",
    "net.bridge.bridge-nf-call-ip6tables": "1",
}
"""What every bare node has, so that packets are forwarded and bridged ones meet the rules."""


def bare_node(
    file: TextFile,
    changes: Changes,
    *,
    family: int | None = None,
    backend: str | None = None,
) -> NodeSpec:
    """Return the node that the rules of `file` are assumed to stand on."""
    chosen = family or family_of(file.text)
    main = NamespaceSpec(backend=backend or backend_of(file.text), sysctls=dict(SYSCTLS))
    if chosen == 4:
        main.rules4 = file
    else:
        main.rules6 = file
    given = parse_addresses(changes.addresses)
    _set_links(main, file.text, given)
    main.addresses, hosts = _assumed_addresses(main, file.text, chosen)
    replaced = {address.device for address in given}
    main.addresses = [old for old in main.addresses if old.device not in replaced] + given
    hosts = [route for route in hosts if route.nexthops[0].device not in replaced]
    main.routes = [*implied_routes(main.addresses), *hosts, *_default_route(main, chosen)]
    change_routes(main, changes.routes)
    change_sysctls(main, changes.sysctls)
    return NodeSpec(main=main, notes=_notes(main), source=file.name, assumed=True)


def _set_links(space: NamespaceSpec, text: str, given: list[AddressSpec]) -> None:
    space.links = [LinkSpec(name="lo", ifindex=1, kind="loopback", mtu=65536)]
    named = concrete_devices(device_patterns(text))
    for name in (UPLINK, *named, *(address.device for address in given)):
        add_device(space, name, _mac(len(space.links) + 1))


def _mac(ifindex: int) -> bytes:
    """Return the locally administered address of a bare node's device."""
    return bytes((2, 0, 0, 1)) + ifindex.to_bytes(2, "big")


def _assumed_addresses(
    space: NamespaceSpec, text: str, family: int
) -> tuple[list[AddressSpec], list[RouteSpec]]:
    """Return addresses, and routes to single hosts that the rules place behind a device."""
    loopback = ("127.0.0.1", 8) if family == 4 else ("::1", 128)
    addresses = [
        AddressSpec(
            device="lo", address=parse_address(loopback[0]), prefix_len=loopback[1], scope="host"
        ),
        address_spec(UPLINK, parse_address(UPLINK_ADDRESS[family][0]), UPLINK_ADDRESS[family][1]),
    ]
    hosts: list[RouteSpec] = []
    placed = subnets(text, family)
    for link in space.links[2:]:
        for prefix, length in placed.get(link.name, []):
            if length < len(prefix) * 8 - 1:
                addresses.append(address_spec(link.name, _first_host(prefix), length))
            else:
                hosts.append(route_spec(prefix, length, link.name))
    return addresses, hosts


def _first_host(prefix: bytes) -> bytes:
    return (int.from_bytes(prefix, "big") + 1).to_bytes(len(prefix), "big")


def _default_route(space: NamespaceSpec, family: int) -> list[RouteSpec]:
    """Return the default route, by the last host of the uplink's subnet when that was changed."""
    octets = 4 if family == 4 else 16
    usual = parse_address(GATEWAY[family])
    for address in space.addresses:
        if address.device != UPLINK or len(address.address) != octets:
            continue
        subnet, length = network_of(address.address, address.prefix_len), address.prefix_len
        if in_prefix(usual, subnet, length):
            return [route_spec(bytes(octets), 0, UPLINK, usual)]
        if length < octets * 8 - 1:
            last = int.from_bytes(last_address(subnet, length), "big") - 1
            return [route_spec(bytes(octets), 0, UPLINK, last.to_bytes(octets, "big"))]
    return []


def _notes(space: NamespaceSpec) -> list[str]:
    devices = ", ".join(link.name for link in space.links)
    addresses = ", ".join(
        f"{spec.device} {format_address(spec.address)}/{spec.prefix_len}"
        for spec in space.addresses
        if spec.device != "lo"
    )
    gateways = [
        f"via {format_address(route.nexthops[0].gateway)}"
        for route in space.routes
        if not route.prefix_len and route.nexthops and route.nexthops[0].gateway
    ]
    switches = ", ".join(
        f"{key.rpartition('.')[2]}={space.sysctls[key]}"
        for key in (
            "net.ipv4.ip_forward",
            "net.ipv4.conf.all.rp_filter",
            "net.bridge.bridge-nf-call-iptables",
        )
    )
    return [
        (
            f"rules only: assumed are devices {devices}; addresses {addresses or 'none'}; "
            f"default route {', '.join(gateways) or 'none'}; {switches}"
        ),
        "every device but lo is a port: what is sent there leaves the node",
        "nothing listens: local ports answer RST or port unreachable",
    ]
