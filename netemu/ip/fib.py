"""The forwarding information base of a namespace: routes, rules, lookups, address types.

Kernel: net/ipv4/fib_frontend.c, net/ipv4/fib_semantics.c, include/net/ip_fib.h (fib_lookup).

Theory of operation: while the policy rules are the default ones the kernel keeps the local and the
main table in one trie, so that one longest prefix match decides over both; a more specific route
of `main` then beats a shorter local one. With custom rules the tables are asked one by one.
"""

from __future__ import annotations

from netemu.ip.default_route import fib_select_default
from netemu.ip.devinet import (
    RT_SCOPE_HOST,
    RT_SCOPE_LINK,
    RT_SCOPE_NOWHERE,
    Addresses,
    IfAddr,
    ifaddr_from_spec,
    inet_addr_onlink,
    inet_select_addr,
    scope_number,
)
from netemu.ip.fib_rules import (
    DEFAULT_RULES,
    RT_TABLE_DEFAULT,
    RT_TABLE_LOCAL,
    RT_TABLE_MAIN,
    are_default,
    fib_rules_lookup,
    needs_ports,
)
from netemu.ip.fib_table import (
    Errno,
    FibResult,
    FibRoute,
    FibTable,
    Flowi4,
    Nexthop,
    RouteType,
    nexthop_scope,
)
from netemu.ip.multipath import fib_multipath_hash
from netemu.net import Net
from netemu.sim.spec import AddressSpec, NamespaceSpec, PolicyRuleSpec, RouteSpec
from netemu.skb import Device
from netemu.wire.address import (
    IPV4_ANY,
    IPV4_BROADCAST,
    ipv4_is_multicast,
    ipv4_is_zeronet,
    mask_of,
    network_of,
)

__all__ = [
    "Errno",
    "Fib",
    "FibResult",
    "FibRoute",
    "Flowi4",
    "RouteType",
    "fib_lookup",
    "fib_result_prefsrc",
    "fib_select_path",
    "inet_addr_onlink",
    "inet_addr_type",
    "inet_dev_addr_type",
    "inet_select_addr",
]


class Fib:
    """Addresses, routes and rules of one namespace."""

    __slots__ = (
        "_merged",
        "_net",
        "addresses",
        "custom_local_routes",
        "rules",
        "rules_need_ports",
        "tables",
    )

    def __init__(self, net: Net) -> None:
        """Start without addresses and routes, with the default rules."""
        self._net = net
        self.addresses = net.generic(Addresses)
        self.tables: dict[int, FibTable] = {}
        self._merged: FibTable | None = FibTable()
        """Local and main table as one; None once there are custom rules."""
        self.rules: list[PolicyRuleSpec] = list(DEFAULT_RULES)
        self.rules_need_ports = False
        self.custom_local_routes = False
        """A local route was added by hand (fib_has_custom_local_routes)."""

    @property
    def has_custom_rules(self) -> bool:
        """Whether the rules are others than the default ones."""
        return self._merged is None

    def load(self, spec: NamespaceSpec) -> None:
        """Take addresses, routes and rules of a snapshot.

        When the snapshot lists table 255 its routes are taken as they are; otherwise the local,
        broadcast and connected routes are derived from the addresses, as the kernel adds them.
        """
        self.set_rules(spec.policy_rules)
        routes = [route for route in spec.routes if len(route.prefix) == 4]
        has_local = any(route.table == RT_TABLE_LOCAL for route in routes)
        for route in routes:
            self.add_route(route)
        for address in spec.addresses:
            device = self._net.devices.get(address.device)
            if device is None or len(address.address) != 4:
                continue
            entry = ifaddr_from_spec(address, device)
            self.addresses.append(entry)
            if not has_local:
                self._add_ifaddr(entry)
        for table in self.tables.values():
            for loaded in table.routes():
                self._check_gateways(loaded)
        self.custom_local_routes = has_local and self._has_custom_local_routes()

    def set_rules(self, rules: list[PolicyRuleSpec] | None) -> None:
        """Replace the policy rules; None stands for the default ones."""
        self.rules = sorted(DEFAULT_RULES if rules is None else rules, key=_priority)
        self.rules_need_ports = needs_ports(self.rules)
        if not are_default(rules):
            self._merged = None

    def add_address(self, spec: AddressSpec) -> bool:
        """Add an address with its routes (`ip addr add`); False if it is there already."""
        entry = ifaddr_from_spec(spec, self._net.devices[spec.device])
        if not self.addresses.insert(entry):
            return False
        self._add_ifaddr(entry)
        return True

    def add_route(self, spec: RouteSpec) -> None:
        """Add a route (`ip route append`)."""
        kind = RouteType[spec.kind.upper()]
        nexthops = tuple(
            Nexthop(
                device=self._net.devices.get(way.device),
                gateway=way.gateway,
                weight=way.weight,
                scope=nexthop_scope(kind, way.gateway),
                onlink=way.onlink,
            )
            for way in spec.nexthops
        )
        route = FibRoute(
            prefix=network_of(spec.prefix, spec.prefix_len),
            prefix_len=spec.prefix_len,
            kind=kind,
            table=spec.table,
            nexthops=nexthops,
            source=spec.source,
            metric=spec.metric,
            scope=scope_number(spec.scope),
            tos=spec.tos,
            mtu=spec.mtu,
        )
        self._check_gateways(route)
        self.insert(route)

    def _check_gateways(self, route: FibRoute) -> None:
        """Treat a gateway that is an address of ours as none (fib_check_nh_v4_gw)."""
        for way in route.nexthops:
            if not way.onlink and way.gateway in self.addresses.by_local:
                way.scope = RT_SCOPE_HOST

    def insert(self, route: FibRoute) -> None:
        """Add a route to its table."""
        self.tables.setdefault(route.table, FibTable()).insert(route)
        if self._merged is not None and route.table in {RT_TABLE_LOCAL, RT_TABLE_MAIN}:
            self._merged.insert(route)

    def remove(self, route: FibRoute) -> None:
        """Take a route out of its table."""
        self.tables[route.table].remove(route)
        if self._merged is not None and route.table in {RT_TABLE_LOCAL, RT_TABLE_MAIN}:
            self._merged.remove(route)

    def delete_route(self, spec: RouteSpec) -> bool:
        """Remove the first route to a prefix (`ip route del`); False if there is none.

        Gateway, device, metric and TOS count where they are given.
        """
        ways = [(way.device, way.gateway) for way in spec.nexthops]
        kind = RouteType[spec.kind.upper()]
        for route in self._routes_to(spec.table, spec.prefix, spec.prefix_len):
            theirs = [
                (way.device.name if way.device else "", way.gateway) for way in route.nexthops
            ]
            alike = not ways or all(
                wanted[0] in {"", has[0]} and wanted[1] in {b"", has[1]}
                for wanted, has in zip(ways, theirs, strict=False)
            )
            if alike and route.kind == kind and spec.metric in {0, route.metric}:
                self.remove(route)
                return True
        return False

    def delete_address(self, device: Device, local: bytes) -> bool:
        """Remove an address (`ip addr del`) with those secondary to it; False if it is absent.

        Its routes go with it, and those that name it as their source (inet_del_ifa,
        fib_del_ifaddr, fib_sync_down_addr).
        """
        gone = self.addresses.remove(device, local)
        for entry in gone:
            for route in self._all_routes():
                if route.source == entry.local and (route.magic or route.kind != RouteType.LOCAL):
                    self.remove(route)
        if gone:
            # What another address stands for as well comes back.
            for entry in self.addresses.of(device):
                self._add_ifaddr(entry)
        return bool(gone)

    def device_down(self, device: Device, *, force: bool = False) -> None:
        """Forget the routes by a device that went down (fib_disable_ip).

        Those to its own addresses stay, unless `force` says that it has none any more. A route
        with several ways loses only those.
        """
        for route in self._all_routes():
            ways = [way for way in route.nexthops if way.device is device]
            dead = [way for way in ways if force or way.scope != RT_SCOPE_NOWHERE]
            if dead and len(dead) == len(route.nexthops):
                self.remove(route)

    def device_up(self, device: Device) -> None:
        """Bring back the routes of a device's addresses (fib_add_ifaddr)."""
        for entry in self.addresses.of(device):
            self._add_ifaddr(entry)

    def _all_routes(self) -> list[FibRoute]:
        return [route for table in self.tables.values() for route in table.routes()]

    def lookup(self, flow: Flowi4, *, ignore_linkstate: bool = False) -> FibResult | Errno:
        """Return the route for `flow` or why there is none (fib_lookup)."""
        net = self._net
        if self._merged is None:
            found = fib_rules_lookup(
                net, self.rules, self.tables, flow, ignore_linkstate=ignore_linkstate
            )
        else:
            found = self._merged.lookup(net, flow, ignore_linkstate=ignore_linkstate)
            default = self.tables.get(RT_TABLE_DEFAULT)
            if found == Errno.EAGAIN and default is not None:
                found = default.lookup(net, flow, ignore_linkstate=ignore_linkstate)
        return Errno.ENETUNREACH if found == Errno.EAGAIN else found

    def local_lookup(self, address: bytes) -> FibResult | Errno | None:
        """Look `address` up in the local table; None when there is no such table."""
        table = self.tables.get(RT_TABLE_LOCAL)
        if self._merged is not None:
            # The local table is an alias of the common trie, main's routes included.
            table = self._merged
        return None if table is None else table.lookup(self._net, Flowi4(daddr=address))

    def table_of(self, result: FibResult) -> FibTable:
        """Return the table in which a result was found."""
        if self._merged is not None and result.route.table in {RT_TABLE_LOCAL, RT_TABLE_MAIN}:
            return self._merged
        return self.tables[result.route.table]

    def _add_ifaddr(self, entry: IfAddr) -> None:
        """Add the routes that come with an address (fib_add_ifaddr)."""
        primary = self.addresses.primary_of(entry) if entry.secondary else entry
        if primary is None:
            return
        self._magic(RouteType.LOCAL, entry.local, 32, primary)
        device = entry.device
        if not device.up:
            return
        if entry.broadcast not in {b"", IPV4_ANY, IPV4_BROADCAST}:
            self._magic(RouteType.BROADCAST, entry.broadcast, 32, primary)
        length = entry.prefix_len
        prefix = network_of(entry.address, length)
        if ipv4_is_zeronet(prefix) or entry.secondary:
            return
        if prefix == entry.local and length == 32:
            return
        kind = RouteType.LOCAL if device.loopback else RouteType.UNICAST
        self._magic(kind, prefix, length, primary)
        if length < 31:
            host_bits = int.from_bytes(mask_of(length), "big") ^ 0xFFFFFFFF
            last = int.from_bytes(prefix, "big") | host_bits
            self._magic(RouteType.BROADCAST, last.to_bytes(4, "big"), 32, primary)

    def _magic(self, kind: RouteType, prefix: bytes, prefix_len: int, primary: IfAddr) -> None:
        """Add a route that the kernel makes itself (fib_magic)."""
        table = RT_TABLE_MAIN if kind == RouteType.UNICAST else RT_TABLE_LOCAL
        scope = RT_SCOPE_HOST if kind == RouteType.LOCAL else RT_SCOPE_LINK
        device = primary.device
        for route in self._routes_to(table, prefix, prefix_len):
            if any(way.device is device for way in route.nexthops):
                return
        way = Nexthop(device=device, scope=nexthop_scope(kind, b""))
        self.insert(
            FibRoute(
                prefix=prefix,
                prefix_len=prefix_len,
                kind=kind,
                table=table,
                nexthops=(way,),
                source=primary.local,
                scope=scope,
                magic=True,
            )
        )

    def _routes_to(self, table: int, prefix: bytes, prefix_len: int) -> list[FibRoute]:
        found = self.tables.get(table)
        return [] if found is None else found.at(prefix, prefix_len)

    def _has_custom_local_routes(self) -> bool:
        """Return whether the local table holds a local route that no address explains."""
        entries = [
            entry for device in self._net.devices.values() for entry in self.addresses.of(device)
        ]
        explained = {(entry.local, 32) for entry in entries}
        explained |= {
            (network_of(entry.address, entry.prefix_len), entry.prefix_len)
            for entry in entries
            if entry.device.loopback
        }
        return any(
            route.kind == RouteType.LOCAL and (route.prefix, route.prefix_len) not in explained
            for route in self.tables[RT_TABLE_LOCAL].routes()
        )


def _priority(rule: PolicyRuleSpec) -> int:
    return rule.priority


def fib_lookup(net: Net, flow: Flowi4, *, ignore_linkstate: bool = False) -> FibResult | Errno:
    """Return the route for `flow` or why there is none."""
    return net.generic(Fib).lookup(flow, ignore_linkstate=ignore_linkstate)


def inet_addr_type(net: Net, address: bytes) -> RouteType:
    """Return what `address` is to this namespace: LOCAL, BROADCAST, MULTICAST, UNICAST."""
    return inet_dev_addr_type(net, None, address)


def inet_dev_addr_type(net: Net, device: Device | None, address: bytes) -> RouteType:
    """Return the type of `address` as if only `device` were there; None stands for all devices."""
    if ipv4_is_zeronet(address) or address == IPV4_BROADCAST:
        return RouteType.BROADCAST
    if ipv4_is_multicast(address):
        return RouteType.MULTICAST
    found = net.generic(Fib).local_lookup(address)
    if found is None:
        return RouteType.BROADCAST
    if not isinstance(found, FibResult):
        return RouteType.UNICAST
    # The first nexthop decides, whichever was found (fib_info_nhc(res.fi, 0)).
    first = found.route.nexthops[0].device
    return found.route.kind if device is None or device is first else RouteType.UNICAST


def fib_result_prefsrc(net: Net, result: FibResult) -> bytes:
    """Return the source address that goes with a route."""
    return result.route.source or _nexthop_source(net, result.route, result.nexthop)


def _nexthop_source(net: Net, route: FibRoute, nexthop: Nexthop) -> bytes:
    if nexthop.device is None:
        return IPV4_ANY
    gateway = nexthop.gateway if len(nexthop.gateway) == 4 else IPV4_ANY
    return inet_select_addr(net, nexthop.device, gateway, route.scope)


def fib_select_path(net: Net, result: FibResult, flow: Flowi4) -> None:
    """Choose a nexthop and fill in the source of an output flow (fib_select_path)."""
    if not flow.oif and len(result.route.nexthops) > 1:
        fib_select_multipath(net, result, fib_multipath_hash(net, flow), flow.saddr)
    elif not flow.oif and not result.route.prefix_len and result.route.kind == RouteType.UNICAST:
        if net.generic(Fib).tables[result.route.table].default_routes > 1:
            fib_select_default(net, result, flow)
    if flow.saddr == IPV4_ANY:
        flow.saddr = fib_result_prefsrc(net, result)


def fib_select_multipath(net: Net, result: FibResult, flow_hash: int, saddr: bytes) -> None:
    """Choose the nexthop of a multipath route; one whose own source is `saddr` is preferred.

    Each usable way owns a share of the 31-bit hash space in proportion to its weight
    (fib_rebalance).
    """
    route = result.route
    usable = [(index, way) for index, way in enumerate(route.nexthops) if way.usable(net)]
    total = sum(way.weight for _, way in usable)
    weight = 0
    best_score = 0
    for index, way in usable:
        weight += way.weight
        # DIV_ROUND_CLOSEST_ULL(w << 31, total) - 1
        upper_bound = ((weight << 31) + total // 2) // total - 1
        score = 1 if flow_hash <= upper_bound else 0
        if saddr != IPV4_ANY and _nexthop_source(net, route, way) == saddr:
            score += 2
        if score > best_score:
            result.nexthop, result.index = way, index
            if score == 3 or (saddr == IPV4_ANY and score == 1):
                return
            best_score = score
