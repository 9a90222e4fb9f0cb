"""Expectations: who is expected, who stands in the way, when they end."""

from __future__ import annotations

from netemu.clock import NSEC_PER_SEC, Clock
from netemu.net import Net
from netemu.netfilter.conntrack.connection import DEFAULT_ZONE, Connection, Status, Zone
from netemu.netfilter.conntrack.expect import Expectation, Expectations, Refusal
from netemu.netfilter.conntrack.tuple import Tuple, inverse
from netemu.skb import ETH_P_IP, Skb

CLIENT, SERVER, OTHER = (bytes([10, 0, 0, last]) for last in (1, 2, 3))


def master(port: int = 1000, zone: Zone = DEFAULT_ZONE) -> Connection:
    control = Tuple(CLIENT, SERVER, 6, port, 21)
    made = Connection(control, inverse(control), zone)
    made.status = Status.CONFIRMED
    made.helper = "ftp"
    return made


def data(src_port: int = 20, dst_port: int = 1025, src: bytes = SERVER) -> Tuple:
    return Tuple(src, CLIENT, 6, src_port, dst_port)


def expectation(of: Connection, port: int = 1025) -> Expectation:
    return Expectation(master=of, tuple_=data(0, port))


class World:
    """A namespace with expectations and a packet to speak of."""

    def __init__(self) -> None:
        self.net = Net(clock=Clock(0, 250))
        self.all = self.net.generic(Expectations)
        self.skb = Skb(bytes(20), protocol=ETH_P_IP, fate=self.net.new_fate())

    def relate(self, new: Expectation, most: int = 1) -> Refusal | None:
        return self.all.relate(new, most, 300, self.skb)


def test_any_source_port_fits_but_no_other_address() -> None:
    world = World()
    control = master()
    assert world.relate(expectation(control)) is None
    assert world.all.take(data(src=OTHER), DEFAULT_ZONE) is None
    assert world.all.take(data(dst_port=1026), DEFAULT_ZONE) is None
    assert world.all.take(data(), Zone(5)) is None
    found = world.all.take(data(4711), DEFAULT_ZONE)
    assert found is not None and found.master is control
    assert world.all.take(data(4711), DEFAULT_ZONE) is None


def test_a_new_one_takes_the_oldest_one_s_place() -> None:
    world = World()
    control = master()
    for port in (1025, 1026, 1027):
        assert world.relate(expectation(control, port), most=2) is None
    assert [row.split()[5] for row in world.all.dump().splitlines()] == ["dport=1026", "dport=1027"]


def test_two_masters_cannot_expect_the_same() -> None:
    world = World()
    assert world.relate(expectation(master())) is None
    assert world.relate(expectation(master(1001))) is Refusal.BUSY
    assert world.relate(expectation(master(1001, Zone(7)))) is None


def test_the_table_may_be_full() -> None:
    world = World()
    world.net.sysctl.set("net.netfilter.nf_conntrack_expect_max", "1")
    assert world.relate(expectation(master())) is None
    assert world.relate(expectation(master(1001), 1026)) is Refusal.TOO_MANY
    assert world.net.log == ["nf_conntrack: expectation table full"]


def test_an_expectation_ends_with_its_time_or_its_master() -> None:
    world = World()
    first, second = master(), master(1001)
    assert world.relate(expectation(first)) is None
    assert world.relate(expectation(second, 1026)) is None
    world.all.forget_master(first)
    assert world.all.dump().startswith("300 proto=6 ")
    world.net.clock.run_until(299 * NSEC_PER_SEC)
    assert world.all.dump().startswith("1 proto=6 ")
    world.net.clock.run_until(300 * NSEC_PER_SEC)
    assert world.all.take(data(dst_port=1026), DEFAULT_ZONE) is None
    assert not world.all


def test_a_dying_master_expects_nobody() -> None:
    world = World()
    control = master()
    assert world.relate(expectation(control)) is None
    control.status |= Status.DYING
    assert world.all.take(data(), DEFAULT_ZONE) is None
