"""What `--addr`, `--route` and `--sysctl` change of a node.

Forms: `DEV=IP/LEN`, `PREFIX[,via=IP][,dev=DEV]`, `KEY=VALUE`; all may be repeated.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct
from msgspec.structs import replace

from netemu.errors import UsageError
from netemu.sim.spec import AddressSpec, LinkSpec, NamespaceSpec, NexthopSpec, RouteSpec
from netemu.snapshot.implied import implied_routes, last_address
from netemu.sysctl import CONF_DEFAULTS, DEFAULTS, NEIGH_DEFAULTS
from netemu.wire.address import in_prefix, network_of, parse_address, parse_prefix


class Changes(Struct, frozen=True, kw_only=True):
    """The options as given."""

    addresses: Sequence[str] = ()
    routes: Sequence[str] = ()
    sysctls: Sequence[str] = ()

    def __bool__(self) -> bool:
        """Return whether anything changes."""
        return bool(self.addresses or self.routes or self.sysctls)


def parse_addresses(options: Iterable[str]) -> list[AddressSpec]:
    """Return the addresses of `--addr DEV=IP/LEN`.

    >>> [spec.device for spec in parse_addresses(["eth0=10.0.0.1/24"])]
    ['eth0']
    """
    found: list[AddressSpec] = []
    for option in options:
        device, equals, text = option.partition("=")
        try:
            address, length = parse_prefix(text)
        except ValueError as error:
            message = f"--addr {option}: {error}; DEV=IP/LEN would be right"
            raise UsageError(message) from None
        if not device or not equals:
            message = f"--addr {option}: no device is named; DEV=IP/LEN would be right"
            raise UsageError(message)
        found.append(address_spec(device, address, length))
    return found


def address_spec(device: str, address: bytes, length: int) -> AddressSpec:
    """Return an address as `ip addr add ADDRESS/LEN brd +` sets it."""
    broad = len(address) == 4 and length < 31
    return AddressSpec(
        device=device,
        address=address,
        prefix_len=length,
        broadcast=last_address(network_of(address, length), length) if broad else b"",
    )


def route_spec(prefix: bytes, length: int, device: str, gateway: bytes = b"") -> RouteSpec:
    """Return a route of the main table as `ip route add` makes it."""
    return RouteSpec(
        prefix=prefix,
        prefix_len=length,
        nexthops=(NexthopSpec(device=device, gateway=gateway),),
        scope="global" if gateway or len(prefix) == 16 else "link",
        metric=0 if len(prefix) == 4 else 1024,
    )


def add_device(space: NamespaceSpec, name: str, mac: bytes) -> None:
    """Add a port `name` unless the namespace has such a device."""
    if all(link.name != name for link in space.links):
        index = max((link.ifindex for link in space.links), default=0) + 1
        space.links.append(LinkSpec(name=name, ifindex=index, mac=mac))


def change_addresses(space: NamespaceSpec, options: Iterable[str]) -> None:
    """Add the addresses of `--addr`, with the routes they imply where routes are listed."""
    known = {link.name for link in space.links}
    for address in parse_addresses(options):
        if address.device not in known:
            message = f"--addr {address.device}=...: the node has no such device"
            raise UsageError(message)
        space.addresses.append(address)
        if space.routes:
            space.routes += implied_routes([address])


def change_routes(space: NamespaceSpec, options: Iterable[str]) -> None:
    """Add the routes of `--route`; one to the same prefix in the main table is replaced."""
    for option in options:
        route = _route(space, option)
        space.routes = [old for old in space.routes if not _same(old, route)]
        space.routes.append(route)


def _same(old: RouteSpec, new: RouteSpec) -> bool:
    return replace(new, nexthops=old.nexthops, scope=old.scope, source=old.source) == replace(
        old, protocol=new.protocol, metric=new.metric, mtu=new.mtu
    )


def _route(space: NamespaceSpec, option: str) -> RouteSpec:
    text, *settings = option.split(",")
    named = dict(setting.partition("=")[::2] for setting in settings)
    if set(named) - {"via", "dev"}:
        message = f"--route {option}: PREFIX[,via=IP][,dev=DEV] would be right"
        raise UsageError(message)
    try:
        gateway = parse_address(named["via"]) if "via" in named else b""
        if text == "default":
            prefix, length = bytes(len(gateway) or 4), 0
        else:
            prefix, length = parse_prefix(text)
    except ValueError as error:
        message = f"--route {option}: {error}; PREFIX[,via=IP][,dev=DEV] would be right"
        raise UsageError(message) from None
    device = named.get("dev") or _device_towards(space, gateway, option)
    if all(link.name != device for link in space.links):
        message = f"--route {option}: the node has no device {device}"
        raise UsageError(message)
    return route_spec(network_of(prefix, length), length, device, gateway)


def _device_towards(space: NamespaceSpec, gateway: bytes, option: str) -> str:
    for address in space.addresses:
        subnet = network_of(address.peer or address.address, address.prefix_len)
        if gateway and in_prefix(gateway, subnet, address.prefix_len):
            return address.device
    message = f"--route {option}: no device has a subnet with that gateway; dev=DEV says which"
    raise UsageError(message)


def change_sysctls(space: NamespaceSpec, options: Iterable[str]) -> None:
    """Set the parameters of `--sysctl`; `/` may stand for `.` as sysctl(8) has it."""
    for option in options:
        key, equals, value = option.partition("=")
        if not equals or not key.strip():
            message = f"--sysctl {option}: KEY=VALUE would be right"
            raise UsageError(message)
        key, value = dotted(key.strip()), value.strip()
        if must_be_number(key) and not is_number(value):
            message = f"--sysctl {option}: a whole number would be right"
            raise UsageError(message)
        space.sysctls[key] = value


def must_be_number(key: str) -> bool:
    """Return whether netemu reads a parameter as a number."""
    words = key.split(".")
    if words[:2] == ["net", "ipv4"] and len(words) == 5:
        known = {"conf": CONF_DEFAULTS, "neigh": NEIGH_DEFAULTS}.get(words[2], {})
        return words[4] in known
    return key in DEFAULTS


def is_number(text: str) -> bool:
    """Return whether sysctl(8) printed a whole number."""
    return text.removeprefix("-").isdecimal()


def dotted(key: str) -> str:
    """Return a parameter's name with dots as separators.

    >>> dotted("net/ipv4/conf/eth0.5/rp_filter")
    'net.ipv4.conf.eth0/5.rp_filter'
    """
    first = next((character for character in key if character in "./"), "")
    return key.translate(str.maketrans("./", "/.")) if first == "/" else key
