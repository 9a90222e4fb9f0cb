"""Which of several default routes a node's own packets take.

Kernel: net/ipv4/fib_semantics.c (fib_select_default, fib_detect_death).

Theory of operation: default routes of the same table, TOS and metric stand in for each other. The
first whose gateway is not known to be dead is taken: a gateway without a neighbour entry counts as
alive, one that is REACHABLE too; one that is STALE, DELAY or PROBE does only if it was not the
last one to be taken, so that the others are tried in turn. Packets that are forwarded always
take the first route.
"""

from __future__ import annotations

from msgspec import Struct

from netemu.ip.devinet import RT_SCOPE_LINK
from netemu.ip.fib_table import FibResult, FibRoute, Flowi4, RouteType
from netemu.ip.neighbour import NeighbourTable
from netemu.ip.nud import VALID, Nud
from netemu.net import Net

NONE_TAKEN = -1


class _LastResort(Struct):
    """What is taken when all gateways seem dead."""

    route: FibRoute | None = None
    order: int = NONE_TAKEN


def fib_select_default(net: Net, result: FibResult, flow: Flowi4) -> None:
    """Choose among the default routes of the result's rank."""
    rank = list(_candidates(result, flow))
    if not rank or rank[0] is not result.route:
        return
    first = rank[0]
    resort = _LastResort()
    if len(rank) == 1:
        first.last_default = NONE_TAKEN
        return
    for order, route in enumerate(rank):
        if not _is_dead(net, route, order, first.last_default, resort):
            _assign(result, route)
            first.last_default = order
            return
    if resort.route is not None:
        _assign(result, resort.route)
    first.last_default = resort.order


def _candidates(result: FibResult, flow: Flowi4) -> list[FibRoute]:
    """Return the default routes that stand in for each other, in order."""
    found: list[FibRoute] = []
    last_metric, last_tos = result.route.metric, 0
    for route in result.peers:
        if route.tos and route.tos != flow.tos:
            continue
        if route.table != result.route.table:
            continue
        if route.metric > last_metric and route.tos == last_tos:
            if last_tos:
                continue
            break
        ways = route.nexthops
        if not any(way.device is not None and way.device.up for way in ways):
            continue
        last_tos, last_metric = route.tos, route.metric
        if route.scope != result.route.scope or route.kind != RouteType.UNICAST:
            continue
        if not ways[0].gateway or ways[0].scope != RT_SCOPE_LINK:
            continue
        if not found and route is not result.route:
            break
        found.append(route)
    return found


def _is_dead(net: Net, route: FibRoute, order: int, last: int, resort: _LastResort) -> bool:
    """Return whether a gateway seems dead, and note the best of those (fib_detect_death)."""
    way = route.nexthops[0]
    assert way.device is not None
    entry = net.generic(NeighbourTable).find(way.gateway, way.device)
    if entry is None or entry.state == Nud.REACHABLE:
        return False
    valid = bool(entry.state & VALID)
    if valid and order != last:
        return False
    untried = resort.order < 0 and order > last and entry.state != Nud.INCOMPLETE
    if valid or untried:
        resort.route, resort.order = route, order
    return True


def _assign(result: FibResult, route: FibRoute) -> None:
    """Take another route (fib_result_assign)."""
    result.route = route
    result.nexthop, result.index = route.nexthops[0], 0
