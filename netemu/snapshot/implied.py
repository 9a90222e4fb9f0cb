"""Routes that the kernel adds by itself when an address is set.

Kernel: net/ipv4/fib_frontend.c (fib_add_ifaddr). Since Linux 5.14 the all-zeros address of a
subnet is no broadcast any more, so only the all-ones one has a route (asked of 6.18).
"""

from __future__ import annotations

from collections.abc import Iterable

from netemu.sim.spec import AddressSpec, NexthopSpec, RouteSpec
from netemu.wire.address import network_of


def implied_routes(addresses: Iterable[AddressSpec]) -> list[RouteSpec]:
    """Return local, connected and broadcast routes of `addresses`."""
    found: list[RouteSpec] = []
    for address in addresses:
        found += _of_address(address)
    return found


def _of_address(address: AddressSpec) -> list[RouteSpec]:
    bits = len(address.address) * 8
    ways = (NexthopSpec(device=address.device),)
    loopback = address.scope == "host"
    source = address.address if bits == 32 else b""
    found = [_local(address.address, bits, ways, source)]
    remote = address.peer or address.address
    network = network_of(remote, address.prefix_len)
    if loopback and bits == 32:
        found.append(_local(network, address.prefix_len, ways, source))
    elif not loopback and (address.prefix_len < bits or address.peer):
        found.append(
            RouteSpec(
                prefix=network,
                prefix_len=address.prefix_len,
                nexthops=ways,
                source=source,
                scope="link" if bits == 32 else "global",
                protocol="kernel",
                metric=0 if bits == 32 else 256,
            )
        )
    broadcast = address.broadcast or (
        last_address(network, address.prefix_len) if loopback else b""
    )
    if broadcast and bits == 32:
        found.append(
            RouteSpec(
                prefix=broadcast,
                prefix_len=32,
                kind="broadcast",
                table=255,
                nexthops=ways,
                source=source,
                scope="link",
                protocol="kernel",
            )
        )
    return found


def _local(
    prefix: bytes, prefix_len: int, ways: tuple[NexthopSpec, ...], source: bytes
) -> RouteSpec:
    return RouteSpec(
        prefix=prefix,
        prefix_len=prefix_len,
        kind="local",
        table=255,
        nexthops=ways,
        source=source,
        scope="host" if source else "global",
        protocol="kernel",
    )


def last_address(network: bytes, prefix_len: int) -> bytes:
    """Return the all-ones address of a subnet.

    >>> last_address(bytes([10, 0, 0, 0]), 8).hex()
    '0affffff'
    """
    host_bits = len(network) * 8 - prefix_len
    number = int.from_bytes(network, "big") | ((1 << host_bits) - 1)
    return number.to_bytes(len(network), "big")
