"""The forwarding database by itself."""

from __future__ import annotations

from netemu.clock import Clock
from netemu.link.bridge_port import BridgePort
from netemu.link.fdb import Fdb, entry_text
from netemu.link.port import Port
from netemu.net import Net
from netemu.sim.spec import FdbSpec

MAC, OTHER = bytes.fromhex("02aa00000001"), bytes.fromhex("02aa00000002")
S = 1_000_000_000


def ports() -> tuple[BridgePort, BridgePort]:
    net = Net()
    first, second = (
        BridgePort(device=Port(net, name=name, ifindex=index, mac=bytes(6)))
        for index, name in enumerate("ab", 2)
    )
    return first, second


def test_learning_makes_refreshes_and_moves() -> None:
    """The device that an entry moved from is told."""
    clock = Clock()
    fdb = Fdb(clock, 300 * S)
    a, b = ports()
    assert fdb.learn(MAC, 0, a)[1] is None
    clock.run_until(5)
    entry, moved_from = fdb.learn(MAC, 0, b)
    assert (entry.port, entry.updated_ns, moved_from) == (b, 5, a.device)
    assert fdb.learn(MAC, 0, b)[1] is None


def test_local_entries_never_move() -> None:
    """An address of our own stays where it is; a learnt one gives way to it."""
    fdb = Fdb(Clock(), 300 * S)
    a, b = ports()
    fdb.learn(MAC, 0, b)
    fdb.add_local(MAC, a)
    fdb.add_local(MAC, b)
    entry, _ = fdb.learn(MAC, 0, b)
    assert (entry.port, entry.local, entry.static) == (a, True, True)
    fdb.delete_local(MAC, b)
    assert fdb.find(MAC, 0) is entry
    fdb.delete_local(MAC, a)
    assert fdb.find(MAC, 0) is None


def test_the_collector_leaves_static_entries() -> None:
    """Only what ages goes, at the end of its time; then the collector sleeps."""
    clock = Clock()
    fdb = Fdb(clock, 10 * S)
    a, _ = ports()
    fdb.load([FdbSpec(bridge="br0", device="a", mac=OTHER, state="static")], {"a": a})
    fdb.learn(MAC, 0, a)
    clock.run_until(10 * S)
    assert [entry.mac for entry in fdb.entries()] == [OTHER]
    assert clock.next_timer_ns() is None


def test_a_listing_comes_back_in_its_order() -> None:
    """Listings have the newest entry first."""
    fdb = Fdb(Clock(), 300 * S)
    a, _ = ports()
    specs = [
        FdbSpec(bridge="br0", device="a", mac=MAC, vlan=7),
        FdbSpec(bridge="br0", device="br0", mac=OTHER, state="permanent"),
    ]
    fdb.load(specs, {"a": a})
    assert [entry_text(entry, "br0") for entry in fdb.entries()] == [
        "02:aa:00:00:00:01 dev a vlan 7 master br0 ",
        "02:aa:00:00:00:02 dev br0 master br0 permanent",
    ]


def test_without_ageing_time_a_loaded_entry_goes_with_the_next_pass() -> None:
    """A bridge that learns nothing collects every 10 ms what was learnt (asked of Linux 6.18)."""
    clock = Clock()
    fdb = Fdb(clock, 0)
    fdb.load([FdbSpec(bridge="br0", device="p1", mac=bytes(6))], {})
    clock.run_until(9_999_999)
    assert len(fdb.entries()) == 1
    clock.run_until(10_000_000)
    assert fdb.entries() == []
