"""Collecting neighbours (asked of Linux 6.1 in tests/kernel/test_link_oracle.py)."""

from __future__ import annotations

from collections.abc import Iterable

from netemu.ip.neighbour import Neighbour, NeighbourTable, Nud
from netemu.link.port import Port
from netemu.net import Net
from netemu.sysctl import Sysctl

SECOND = 1_000_000_000


def table_of(states: Iterable[Nud], **thresholds: int) -> tuple[Net, NeighbourTable, Port]:
    values = {f"net.ipv4.neigh.default.{name}": str(value) for name, value in thresholds.items()}
    net = Net(sysctl=Sysctl(values))
    port = Port(net, name="eth0", ifindex=2, mac=bytes(6))
    table = net.generic(NeighbourTable)
    for number, state in enumerate(states, 1):
        add(table, port, number).state = state
    return net, table, port


def add(table: NeighbourTable, port: Port, number: int) -> Neighbour:
    entry = table.find_or_create(bytes((10, 0, 0, number)), port)
    assert entry is not None
    return entry


def last_octets(table: NeighbourTable) -> list[int]:
    return [entry.address[3] for entry in table.entries()]


def test_failed_entries_make_room_at_once() -> None:
    """What is in use stays; above gc_thresh2 as many go as are too many."""
    states = (Nud.FAILED, Nud.REACHABLE, Nud.FAILED, Nud.STALE)
    _, table, port = table_of(states, gc_thresh2=3, gc_thresh3=4)
    add(table, port, 9)
    assert last_octets(table) == [2, 4, 9]


def test_young_entries_stay_and_the_table_is_full() -> None:
    """A STALE entry goes only when nothing changed it for five seconds."""
    net, table, port = table_of((Nud.STALE, Nud.STALE), gc_thresh2=1, gc_thresh3=2)
    assert table.find_or_create(bytes((10, 0, 0, 9)), port) is None
    net.clock.run_until(6 * SECOND)
    add(table, port, 9)
    assert last_octets(table) == [9]


def test_permanent_entries_do_not_count() -> None:
    """The limit is one for those that may go."""
    _, table, port = table_of([Nud.PERMANENT] * 3, gc_thresh2=1, gc_thresh3=2)
    add(table, port, 9)
    assert last_octets(table) == [1, 2, 3, 9]


def test_idle_entries_go_every_fifteen_seconds() -> None:
    """From gc_thresh1 on, after gc_stale_time, FAILED ones at the next pass."""
    states = (Nud.FAILED, Nud.STALE, Nud.PERMANENT, Nud.NOARP)
    net, table, _ = table_of(states, gc_thresh1=3)
    net.clock.run_until(14 * SECOND)
    assert last_octets(table) == [1, 2, 3, 4]
    net.clock.run_until(15 * SECOND)
    assert last_octets(table) == [2, 3, 4]
    net.clock.run_until(61 * SECOND)
    assert last_octets(table) == [3]


def test_few_entries_are_left_alone() -> None:
    """Below gc_thresh1 nothing is collected."""
    net, table, _ = table_of((Nud.FAILED, Nud.STALE), gc_thresh1=3)
    net.clock.run_until(200 * SECOND)
    assert last_octets(table) == [1, 2]
