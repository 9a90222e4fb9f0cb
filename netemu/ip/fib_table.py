"""Routes, nexthops, and one routing table with longest prefix match.

Kernel: net/ipv4/fib_trie.c, net/ipv4/fib_semantics.c.

A table is a dict per prefix length, tried from the longest down; a key holds its routes in the
order in which the kernel tries them: table 255 before 254, higher TOS first, then lower metric.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum

from msgspec import Struct, field

from netemu.ip.devinet import RT_SCOPE_HOST, RT_SCOPE_LINK, RT_SCOPE_NOWHERE
from netemu.net import Net
from netemu.skb import Device
from netemu.wire.address import IPV4_ANY

IPTOS_RT_MASK = 0x1C
"""Bits of the TOS octet that a route's or rule's TOS is compared with (include/net/route.h)."""

LOOPBACK_IFINDEX = 1
"""lo has this index in every namespace (include/net/flow.h)."""


class RouteType(IntEnum):
    """RTN_* (include/uapi/linux/rtnetlink.h)."""

    UNSPEC = 0
    UNICAST = 1
    LOCAL = 2
    BROADCAST = 3
    ANYCAST = 4
    MULTICAST = 5
    BLACKHOLE = 6
    UNREACHABLE = 7
    PROHIBIT = 8
    THROW = 9


class Errno(StrEnum):
    """Why a lookup gave no route."""

    EAGAIN = "EAGAIN"
    EINVAL = "EINVAL"
    ENODEV = "ENODEV"
    EACCES = "EACCES"
    ENETUNREACH = "ENETUNREACH"
    EHOSTUNREACH = "EHOSTUNREACH"


ROUTE_ERRORS = {
    RouteType.BLACKHOLE: Errno.EINVAL,
    RouteType.UNREACHABLE: Errno.EHOSTUNREACH,
    RouteType.PROHIBIT: Errno.EACCES,
    RouteType.THROW: Errno.EAGAIN,
}
"""Route types that are errors (fib_props)."""


class Flowi4(Struct, kw_only=True):
    """What a route is looked up for (struct flowi4)."""

    daddr: bytes
    saddr: bytes = IPV4_ANY
    iif: int = LOOPBACK_IFINDEX
    oif: int = 0
    mark: int = 0
    tos: int = 0
    scope: int = 0
    protocol: int = 0
    src_port: int = 0
    dst_port: int = 0
    any_source: bool = False
    """FLOWI_FLAG_ANYSRC: the source need not be ours."""


class Nexthop(Struct, kw_only=True, eq=False):
    """One way of a route (struct fib_nh)."""

    device: Device | None
    """None: the device is not in this namespace, so the way is dead."""
    gateway: bytes = b""
    weight: int = 1
    scope: int = RT_SCOPE_HOST
    """LINK behind a gateway, HOST on link, NOWHERE for local routes (nhc_scope)."""
    onlink: bool = False
    """The gateway is taken to be on link, whatever the routes say (RTNH_F_ONLINK)."""

    @property
    def next_hop(self) -> bytes:
        """The gateway if packets go to it, else empty."""
        return self.gateway if self.scope == RT_SCOPE_LINK else b""

    def usable(self, net: Net, *, ignore_linkstate: bool = False) -> bool:
        """Return whether the device can send (RTNH_F_DEAD, RTNH_F_LINKDOWN).

        A local address is one even while its device is down (fib_sync_down_dev).
        """
        device = self.device
        if self.scope == RT_SCOPE_NOWHERE:
            return True
        if device is None or not device.up:
            return False
        if device.carrier or ignore_linkstate:
            return True
        return not net.sysctl.conf_or(device.name, "ignore_routes_with_linkdown")


class FibRoute(Struct, kw_only=True, eq=False):
    """One route (struct fib_info and its fib_alias)."""

    prefix: bytes
    prefix_len: int
    kind: RouteType
    table: int
    nexthops: tuple[Nexthop, ...] = ()
    source: bytes = b""
    """Preferred source; empty when the route names none."""
    metric: int = 0
    scope: int = 0
    tos: int = 0
    mtu: int = 0
    magic: bool = False
    """The kernel made it, for an address of ours (fib_magic)."""
    last_default: int = -1
    """Which default route of the rank that this one begins was taken last (fa_default)."""


class FibResult(Struct, kw_only=True):
    """What a lookup found (struct fib_result)."""

    route: FibRoute
    nexthop: Nexthop
    index: int
    """Which nexthop of the route."""
    peers: list[FibRoute] = field(default_factory=list)
    """All routes of the same prefix (fa_head)."""


def nexthop_scope(kind: RouteType, gateway: bytes) -> int:
    """Return the scope of a nexthop as fib_create_info sets it."""
    if gateway:
        return RT_SCOPE_LINK
    return RT_SCOPE_NOWHERE if kind == RouteType.LOCAL else RT_SCOPE_HOST


class FibTable:
    """One routing table."""

    __slots__ = ("_by_length", "_lengths", "default_routes")

    def __init__(self) -> None:
        """Start empty."""
        self._by_length: dict[int, dict[int, list[FibRoute]]] = {}
        self._lengths: list[int] = []
        self.default_routes = 0
        """Number of routes to 0.0.0.0/0 (tb_num_default)."""

    def insert(self, route: FibRoute) -> None:
        """Add a route behind those of equal rank (`ip route append`)."""
        length = route.prefix_len
        if length not in self._by_length:
            self._by_length[length] = {}
            self._lengths = sorted(self._by_length, reverse=True)
        key = int.from_bytes(route.prefix, "big") >> (32 - length)
        routes = self._by_length[length].setdefault(key, [])
        routes.append(route)
        routes.sort(key=lambda entry: (-entry.table, -entry.tos, entry.metric))
        if length == 0:
            self.default_routes += 1

    def remove(self, route: FibRoute) -> None:
        """Take a route out, if it is there."""
        routes = self.at(route.prefix, route.prefix_len)
        if route in routes:
            routes.remove(route)
            if route.prefix_len == 0:
                self.default_routes -= 1

    def at(self, prefix: bytes, prefix_len: int) -> list[FibRoute]:
        """Return the routes of exactly this prefix."""
        key = int.from_bytes(prefix, "big") >> (32 - prefix_len)
        return self._by_length.get(prefix_len, {}).get(key, [])

    def routes(self) -> list[FibRoute]:
        """Return every route, longest prefixes first."""
        return [
            route
            for length in self._lengths
            for routes in self._by_length[length].values()
            for route in routes
        ]

    def lookup(
        self, net: Net, flow: Flowi4, *, ignore_linkstate: bool = False
    ) -> FibResult | Errno:
        """Return the best route, or EAGAIN for none (fib_table_lookup)."""
        address = int.from_bytes(flow.daddr, "big")
        for length in self._lengths:
            routes = self._by_length[length].get(address >> (32 - length))
            if routes is None:
                continue
            for route in routes:
                found = _match(net, route, flow, ignore_linkstate=ignore_linkstate)
                if found is not None:
                    if isinstance(found, FibResult):
                        found.peers = routes
                    return found
        return Errno.EAGAIN


def _match(
    net: Net, route: FibRoute, flow: Flowi4, *, ignore_linkstate: bool
) -> FibResult | Errno | None:
    if route.tos and route.tos != flow.tos & IPTOS_RT_MASK:
        return None
    if route.scope < flow.scope:
        return None
    error = ROUTE_ERRORS.get(route.kind)
    if error is not None:
        return error
    for index, nexthop in enumerate(route.nexthops):
        if not nexthop.usable(net, ignore_linkstate=ignore_linkstate):
            continue
        assert nexthop.device is not None
        if flow.oif and flow.oif != nexthop.device.ifindex:
            continue
        return FibResult(route=route, nexthop=nexthop, index=index)
    return None
