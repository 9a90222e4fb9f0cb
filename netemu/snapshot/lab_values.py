"""Values of a lab as people write them: durations, rates, chances, routes, ends.

All raise BadValueError, which says what would be right.
"""

from __future__ import annotations

import re

from netemu.sim.spec import AddressSpec, NexthopSpec, RouteSpec
from netemu.snapshot.change import address_spec
from netemu.snapshot.document import BadValueError
from netemu.wire.address import network_of, parse_address, parse_mac, parse_prefix

UNITS_NS = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000, "m": 60_000_000_000}
UNITS_BPS = {"bit": 1, "kbit": 1_000, "mbit": 1_000_000, "gbit": 1_000_000_000}

_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]+)?) *([a-z]*)", re.IGNORECASE)


def duration_ns(value: str | float) -> int:
    """Return nanoseconds; a bare number counts seconds.

    >>> duration_ns("1.5ms"), duration_ns(2)
    (1500000, 2000000000)
    """
    return _quantity(value, UNITS_NS, "s", "a duration such as 2s, 1.5ms or 100us")


def rate_bps(value: str | float) -> int:
    """Return bits per second; a bare number counts those.

    >>> rate_bps("10mbit")
    10000000
    """
    return _quantity(value, UNITS_BPS, "bit", "a rate such as 10mbit or 1gbit")


def _quantity(value: str | float, units: dict[str, int], unit: str, right: str) -> int:
    found = _QUANTITY.fullmatch(str(value).strip())
    factor = units.get(found[2].lower() or unit) if found else None
    if found is None or factor is None:
        raise BadValueError(f"{value!r} is not {right}", str(value))
    return round(float(found[1]) * factor)


def chance(value: str | float) -> float:
    """Return a probability.

    >>> chance("1%"), chance(0.5)
    (0.01, 0.5)
    """
    text = str(value).strip()
    try:
        number = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 1:
        raise BadValueError(f"{value!r} is not a chance such as 1% or 0.01", text)
    return number


def mac(value: str) -> bytes:
    """Return a packed MAC address."""
    try:
        return parse_mac(value)
    except ValueError:
        raise BadValueError(
            f"{value!r} is not a MAC address such as 02:00:00:00:00:01", value
        ) from None


def address(value: str) -> bytes:
    """Return a packed IPv4 address."""
    try:
        found = parse_address(value)
    except ValueError:
        found = b""
    if len(found) != 4:
        raise BadValueError(f"{value!r} is not an IPv4 address", value)
    return found


def prefix(value: str) -> tuple[bytes, int]:
    """Return address and prefix length of ADDRESS/LENGTH."""
    try:
        found, length = parse_prefix(value)
    except ValueError:
        found, length = b"", 0
    if len(found) != 4 or "/" not in value:
        raise BadValueError(
            f"{value!r} is not an address with its prefix, such as 10.0.0.1/24", value
        )
    return found, length


def device_address(device: str, value: str) -> AddressSpec:
    """Return an address of a device, as `ip addr add ADDRESS/LEN brd +` sets it."""
    return address_spec(device, *prefix(value))


def end_of(value: str) -> tuple[bytes, int]:
    """Return address and port of ADDRESS:PORT."""
    host, colon, port = value.rpartition(":")
    if not colon or not port.isdecimal() or not 0 < int(port) < 65536:
        raise BadValueError(f"{value!r} is not ADDRESS:PORT", value)
    return address(host), int(port)


def dns_name(value: str) -> str:
    """Return a name that can be asked for (RFC 1035 section 2.3.4)."""
    labels = value.rstrip(".").split(".")
    fits = all(0 < len(label.encode()) < 64 for label in labels) and len(value.encode()) < 254
    if not fits:
        raise BadValueError(f"{value!r} is not a name such as web.example", value)
    return value


def dns_names(text: str) -> None:
    """Check what a DNS server knows: NAME=ADDRESS, separated by blanks."""
    for pair in text.split():
        name, equals, found = pair.partition("=")
        if not equals:
            raise BadValueError(f"{pair!r} is not NAME=ADDRESS", pair)
        dns_name(name)
        address(found)


_ROUTE_WORDS = ("via", "dev", "src", "metric", "onlink", "mtu", "table")
_ROUTE_KINDS = ("unicast", "blackhole", "unreachable", "prohibit", "throw", "local")


def route(value: str, addresses: list[AddressSpec]) -> RouteSpec:
    """Return a route as ip(8) writes it: `[KIND] PREFIX [via A] [dev D] [src A] [metric N] ...`.

    Without `dev` it is the device whose subnet holds the gateway, one of `addresses`.
    """
    words = value.split()
    kind = words.pop(0) if words and words[0] in _ROUTE_KINDS else "unicast"
    if not words:
        raise BadValueError(f"{value!r} is not a route such as 10.1.0.0/16 via 192.0.2.1", value)
    target = words.pop(0)
    given: dict[str, str] = {}
    while words:
        word = words.pop(0)
        if word not in _ROUTE_WORDS or (word != "onlink" and not words):
            raise BadValueError(
                f"{word!r} is not one of {', '.join(_ROUTE_WORDS)} with its value", word
            )
        given[word] = "" if word == "onlink" else words.pop(0)
    network, length = (bytes(4), 0) if target == "default" else _network(target)
    gateway = address(given["via"]) if "via" in given else b""
    device = given.get("dev", "")
    if not device and gateway:
        device = _device_towards(gateway, addresses)
    ways = (NexthopSpec(device=device, gateway=gateway, onlink="onlink" in given),)
    needs_way = kind in {"unicast", "local"}
    if needs_way and not device:
        raise BadValueError(f"{value!r} needs `via` an address in a subnet, or `dev`", value)
    scope = "host" if kind == "local" else "global" if gateway or not needs_way else "link"
    return RouteSpec(
        prefix=network_of(network, length),
        prefix_len=length,
        kind=kind,
        table=255 if kind == "local" else _number(given.get("table", "254")),
        nexthops=ways if needs_way else (),
        source=address(given["src"]) if "src" in given else b"",
        metric=_number(given.get("metric", "0")),
        mtu=_number(given.get("mtu", "0")),
        scope=scope,
    )


def _network(text: str) -> tuple[bytes, int]:
    return prefix(text if "/" in text else f"{text}/32")


def _device_towards(gateway: bytes, addresses: list[AddressSpec]) -> str:
    for entry in addresses:
        length = entry.prefix_len
        if network_of(gateway, length) == network_of(entry.address, length):
            return entry.device
    return ""


def _number(text: str) -> int:
    if not text.isdecimal():
        raise BadValueError(f"{text!r} is no whole number", text)
    return int(text)
