"""Addresses bring routes; routes and rules are looked up as Linux 6.18 does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from netemu.ip.fib import (
    Errno,
    Fib,
    FibResult,
    Flowi4,
    RouteType,
    fib_lookup,
    fib_select_multipath,
    inet_addr_type,
    inet_dev_addr_type,
)
from netemu.ip.fib_table import FibRoute
from netemu.ip.multipath import fib_multipath_hash
from netemu.sim.spec import AddressSpec, NexthopSpec, PolicyRuleSpec, RouteSpec
from netemu.snapshot.read import read_node
from netemu.wire.address import format_address, parse_address

FOLDERS = sorted((Path(__file__).parent / "route_get").iterdir())

Row = tuple[str, str, int, str, str, int, int]


def rows(fib: Fib) -> set[Row]:
    return {row(route) for table in fib.tables.values() for route in table.routes()}


def row(route: FibRoute) -> Row:
    device = route.nexthops[0].device
    return (
        route.kind.name,
        f"{format_address(route.prefix)}/{route.prefix_len}",
        route.table,
        device.name if device is not None else "",
        format_address(route.source),
        route.scope,
        route.metric,
    )


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_addresses_bring_the_routes_that_the_kernel_adds(folder: Path, make_lab: Any) -> None:
    """`proto kernel` of `ip route show table all` against what addresses alone give."""
    spec = read_node(str(folder)).main
    kernel = [route for route in spec.routes if route.protocol == "kernel"]
    listed = make_lab(replace(spec, routes=kernel))
    derived = make_lab(replace(spec, routes=[]))
    assert rows(listed.net.generic(Fib)) == rows(derived.net.generic(Fib))


def test_a_longer_prefix_of_main_beats_the_local_table_without_rules(
    make_lab: Any, router: Any
) -> None:
    """The kernel keeps both tables in one trie until there are custom rules."""
    spec = replace(router(), policy_rules=None)
    fib = make_lab(spec).net.generic(Fib)
    inside = parse_address("10.71.5.1")
    assert kind_of(fib.lookup(Flowi4(daddr=inside))) == RouteType.LOCAL
    way = (NexthopSpec(device="b0"),)
    prefix = parse_address("10.71.5.0")
    fib.add_route(RouteSpec(prefix=prefix, prefix_len=24, nexthops=way, scope="link"))
    assert kind_of(fib.lookup(Flowi4(daddr=inside))) == RouteType.UNICAST
    fib.set_rules([PolicyRuleSpec(priority=0, table=255), PolicyRuleSpec(priority=9)])
    assert kind_of(fib.lookup(Flowi4(daddr=parse_address("10.2.0.1")))) == RouteType.LOCAL


def kind_of(found: FibResult | Errno) -> RouteType:
    assert isinstance(found, FibResult)
    return found.route.kind


def test_types_of_addresses(lab: Any) -> None:
    """As addrtype asks (kernel 6.18: 0.0.0.0 alone is special of 0.0.0.0/8)."""
    expected = {
        "0.0.0.0": RouteType.BROADCAST,
        "0.0.0.5": RouteType.UNICAST,
        "255.255.255.255": RouteType.BROADCAST,
        "224.0.0.9": RouteType.MULTICAST,
        "10.1.0.1": RouteType.LOCAL,
        "10.1.0.9": RouteType.LOCAL,
        "10.1.0.255": RouteType.BROADCAST,
        "10.1.0.2": RouteType.UNICAST,
        "127.9.9.9": RouteType.LOCAL,
        "10.66.0.1": RouteType.UNICAST,
    }
    net = lab.net
    assert {text: inet_addr_type(net, parse_address(text)) for text in expected} == expected
    of_b0 = net.devices["b0"]
    assert inet_dev_addr_type(net, of_b0, parse_address("10.2.0.1")) == RouteType.LOCAL
    assert inet_dev_addr_type(net, of_b0, parse_address("10.1.0.1")) == RouteType.UNICAST


def test_routes_of_a_device_that_is_down_are_dead(lab: Any) -> None:
    flow = Flowi4(daddr=parse_address("10.9.0.1"))
    assert isinstance(fib_lookup(lab.net, flow), FibResult)
    lab.net.devices["b0"].up = False
    assert fib_lookup(lab.net, flow) == Errno.ENETUNREACH


def test_a_lost_carrier_counts_when_the_sysctl_says_so(lab: Any) -> None:
    flow = Flowi4(daddr=parse_address("10.9.0.1"))
    lab.net.devices["b0"].carrier = False
    assert isinstance(fib_lookup(lab.net, flow), FibResult)
    lab.net.sysctl.set("net.ipv4.conf.b0.ignore_routes_with_linkdown", "1")
    assert fib_lookup(lab.net, flow) == Errno.ENETUNREACH


def test_multipath_shares_by_weight_and_keeps_to_a_flow(lab: Any) -> None:
    fib = lab.net.generic(Fib)
    ways = (
        NexthopSpec(device="a0", gateway=parse_address("10.1.0.3"), weight=3),
        NexthopSpec(device="b0", gateway=parse_address("10.2.0.2"), weight=1),
    )
    fib.add_route(RouteSpec(prefix=parse_address("10.80.0.0"), prefix_len=16, nexthops=ways))
    chosen = []
    for number in range(400):
        flow = Flowi4(
            daddr=bytes((10, 80, number >> 8, number & 255)), saddr=parse_address("10.9.9.9")
        )
        found = fib.lookup(flow)
        assert isinstance(found, FibResult)
        value = fib_multipath_hash(lab.net, flow)
        assert value == fib_multipath_hash(lab.net, flow)
        fib_select_multipath(lab.net, found, value, bytes(4))
        chosen.append(found.index)
    assert 60 <= sum(chosen) <= 140
    found = fib.lookup(Flowi4(daddr=parse_address("10.80.0.1")))
    assert isinstance(found, FibResult)
    fib_select_multipath(lab.net, found, 0, parse_address("10.2.0.1"))
    assert found.index == 1  # its own source is the flow's


def test_a_second_address_of_a_subnet_is_secondary(lab: Any) -> None:
    fib = lab.net.generic(Fib)
    new = AddressSpec(device="b0", address=parse_address("10.2.0.7"), prefix_len=24)
    assert fib.add_address(new)
    assert not fib.add_address(new)
    entries = fib.addresses.of(lab.net.devices["b0"])
    assert [entry.secondary for entry in entries] == [False, True]
    assert inet_addr_type(lab.net, new.address) == RouteType.LOCAL
