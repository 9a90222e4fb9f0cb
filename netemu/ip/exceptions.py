"""What the node learnt about single destinations: path MTUs and better gateways.

Kernel: net/ipv4/route.c (struct fib_nh_exception, find_exception, update_or_create_fnhe,
ipv4_update_pmtu, ipv4_redirect).

Theory of operation: an exception belongs to one way of a route and one destination. Routes take it
up as they are made; it ends after ten minutes (path MTU) or five (gateway).
"""

from __future__ import annotations

from msgspec import Struct

from netemu.ip.fib_table import Nexthop
from netemu.net import Net

MTU_EXPIRES_S = 600
"""net.ipv4.route.mtu_expires (ip_rt_mtu_expires)."""

MIN_PMTU = 552
"""net.ipv4.route.min_pmtu (ip_rt_min_pmtu): no smaller path MTU is believed."""

GC_TIMEOUT_S = 300
"""net.ipv4.route.gc_timeout (RT_GC_TIMEOUT): how long a redirect is believed."""


class NexthopException(Struct, kw_only=True):
    """One destination (struct fib_nh_exception)."""

    way: Nexthop
    """Kept, so that its identity is not given to another one."""
    pmtu: int = 0
    mtu_locked: bool = False
    """The wanted MTU was too small to be believed; DF is not set then."""
    gateway: bytes = b""
    expires_jiffies: int = 0


class NexthopExceptions:
    """All exceptions of one namespace."""

    __slots__ = ("_by_destination", "_net")

    def __init__(self, net: Net) -> None:
        """Start without any."""
        self._net = net
        self._by_destination: dict[tuple[int, bytes], NexthopException] = {}

    def find(self, way: Nexthop, daddr: bytes) -> NexthopException | None:
        """Return what is known of `daddr` behind a way (find_exception)."""
        if not self._by_destination:
            return None
        key = (id(way), daddr)
        found = self._by_destination.get(key)
        if found is not None and self._net.clock.jiffies > found.expires_jiffies:
            del self._by_destination[key]
            return None
        return found

    def learn_pmtu(self, way: Nexthop, daddr: bytes, pmtu: int, *, locked: bool) -> None:
        """Note a path MTU (update_or_create_fnhe)."""
        found = self._make(way, daddr)
        found.pmtu, found.mtu_locked = pmtu, locked
        found.expires_jiffies = self._after(MTU_EXPIRES_S, "mtu_expires")

    def learn_gateway(self, way: Nexthop, daddr: bytes, gateway: bytes) -> None:
        """Note a better gateway (update_or_create_fnhe)."""
        found = self._make(way, daddr)
        found.gateway = gateway
        found.expires_jiffies = self._after(GC_TIMEOUT_S, "gc_timeout")

    def _make(self, way: Nexthop, daddr: bytes) -> NexthopException:
        return self._by_destination.setdefault((id(way), daddr), NexthopException(way=way))

    def _after(self, default_s: int, name: str) -> int:
        clock = self._net.clock
        return clock.jiffies + route_setting(self._net, name, default_s) * clock.hz


def route_setting(net: Net, name: str, default: int) -> int:
    """Return net.ipv4.route.NAME."""
    return int(net.sysctl.values.get(f"net.ipv4.route.{name}", default))
