"""Memberships and their time (asked of Linux 6.18 in tests/kernel/link_cases.py)."""

from __future__ import annotations

from netemu.clock import Clock
from netemu.link.bridge_mdb import ROUTER_ALWAYS, ROUTER_DISABLED, Mdb
from netemu.link.bridge_port import BridgePort
from netemu.link.port import Port
from netemu.net import Net
from netemu.sim.spec import MdbSpec

SECOND = 1_000_000_000
GROUP = bytes((239, 1, 1, 1))
LOW, HIGH = bytes((10, 0, 0, 1)), bytes((10, 0, 0, 9))


def table(**options: int) -> tuple[Clock, Mdb, list[BridgePort]]:
    net = Net()
    ports = [
        BridgePort(device=Port(net, name=f"p{number}", ifindex=number, mac=bytes(6)))
        for number in (1, 2)
    ]
    return net.clock, Mdb(net.clock, options), ports


def test_memberships_count_once_the_querier_has_had_its_answers() -> None:
    """That is after its maximum response time, and while it goes on asking."""
    clock, mdb, (port, _) = table()
    seen = []
    mdb.hear_query(port, LOW, SECOND)
    for second in (0, 1, 2, 254, 256):
        clock.run_until(second * SECOND)
        seen.append(mdb.querier_exists())
    assert seen == [False, False, True, True, False]


def test_a_member_is_forgotten_unless_it_reports_again() -> None:
    """After 260 s; one that was set stays."""
    clock, mdb, (one, two) = table()
    mdb.load([MdbSpec(bridge="b", device="p2", group=GROUP, permanent=True)], {"p2": two})
    mdb.join(GROUP, 0, one)
    clock.run_until(200 * SECOND)
    mdb.join(GROUP, 0, one)
    clock.run_until(459 * SECOND)
    assert [member.port for member in mdb.members(GROUP, 0)] == [two, one]
    clock.run_until(460 * SECOND)
    assert mdb.text("b") == "dev b port p2 grp 239.1.1.1 permanent\n"


def test_who_leaves_is_waited_for() -> None:
    """Two seconds for others behind the port, unless a querier cares or the port is fast."""
    clock, mdb, (one, two) = table()
    for port in (one, two):
        mdb.join(GROUP, 0, port)
    two.fast_leave = True
    mdb.leave(GROUP, 0, one)
    mdb.leave(GROUP, 0, two)
    assert [member.port for member in mdb.members(GROUP, 0)] == [one]
    clock.run_until(2 * SECOND)
    assert mdb.members(GROUP, 0) == []


def test_routers_are_where_queries_come_from() -> None:
    """The lowest address asks; a port may be one always or never."""
    _, mdb, (one, two) = table()
    mdb.hear_query(one, LOW, 0)
    mdb.hear_query(two, HIGH, 0)
    assert mdb.router_ports([one, two]) == [one]
    one.multicast_router, two.multicast_router = ROUTER_DISABLED, ROUTER_ALWAYS
    mdb.hear_query(two, LOW, 0)
    assert mdb.router_ports([two]) == [two]
