"""The table: who is found, who expires, who makes room."""

from __future__ import annotations

from netemu.clock import NSEC_PER_SEC, Clock
from netemu.net import Net
from netemu.netfilter.conntrack.connection import REPLY, Connection, Status, Zone
from netemu.netfilter.conntrack.table import Conntrack, nf_ct_delete
from netemu.netfilter.conntrack.tuple import Tuple, inverse

A, B = bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2])


def connection(port: int, *, timeout_s: int = 10, zone: Zone | None = None) -> Connection:
    original = Tuple(A, B, 17, port, 53)
    made = Connection(original, inverse(original), zone or Zone())
    made.timeout = timeout_s * 250
    return made


def table() -> Conntrack:
    return Net(clock=Clock(0, 250)).generic(Conntrack)


def pass_time(held: Conntrack, seconds: int) -> None:
    held.net.clock.run_until(held.net.clock.now_ns + seconds * NSEC_PER_SEC)


def test_both_directions_are_found() -> None:
    """Each with its direction."""
    held = table()
    one = connection(1)
    held.insert(one)
    assert held.find(one.original) == (one, 0)
    assert held.find(one.reply) == (one, 1)
    assert held.find(Tuple(A, B, 17, 2, 53)) is None
    assert one.confirmed and one.number == 1


def test_expired_entries_go_when_met() -> None:
    """At the very jiffy of its timeout an entry is gone."""
    held = table()
    one, two = connection(1, timeout_s=5), connection(2, timeout_s=6)
    held.insert(one)
    held.insert(two)
    pass_time(held, 4)
    assert [held.expires_s(entry) for entry in held] == [1, 2]
    pass_time(held, 1)
    assert held.count == 2
    assert held.find(one.original) is None
    assert held.count == 1
    assert list(held) == [two]
    pass_time(held, 1)
    assert len(held) == 0
    assert held.count == 0
    assert one.flags & Status.DYING


def test_seconds_left_are_whole() -> None:
    """The kernel divides jiffies by HZ."""
    held = table()
    one = connection(1, timeout_s=5)
    held.insert(one)
    held.net.clock.run_until(1)
    assert held.expires_s(one) == 5
    held.net.clock.run_until(NSEC_PER_SEC // 250)
    assert held.expires_s(one) == 4


def test_zones_keep_equal_tuples_apart() -> None:
    """Two zones may hold the same addresses."""
    held = table()
    one, two = connection(1), connection(1, zone=Zone(7))
    held.insert(one)
    held.insert(two)
    assert held.find(one.original) == (one, 0)
    assert held.find(one.original, Zone(7)) == (two, 0)
    assert held.find(one.original, Zone(8)) is None


def test_zone_of_one_direction() -> None:
    """With --zone-orig the answer is looked for in zone 0."""
    held = table()
    zone = Zone(7, 1)
    one = connection(1, zone=zone)
    held.insert(one)
    assert held.find(one.original, zone) == (one, 0)
    assert held.find(one.original) is None
    assert held.find(one.reply) == (one, REPLY)
    assert held.find(one.reply, zone) == (one, REPLY)


def test_reply_wins_where_both_tuples_are_the_same() -> None:
    """A socket connected to itself: the reply stands at the head of the bucket."""
    held = table()
    itself = Tuple(A, A, 17, 5, 5)
    one = Connection(itself, inverse(itself))
    one.timeout = 250
    held.insert(one)
    assert held.find(itself) == (one, REPLY)
    held.remove(one)
    assert held.find(itself) is None


def test_deleted_once() -> None:
    """The second one to delete hears that it is too late."""
    held = table()
    one = connection(1)
    held.insert(one)
    assert nf_ct_delete(held.net, one, "test")
    assert not nf_ct_delete(held.net, one, "test")
    assert held.find(one.original) is None


def test_loaded_twice_is_there_once() -> None:
    """`conntrack -I` refuses what is there already."""
    held = table()
    line = "udp 17 9 src=1.1.1.1 dst=2.2.2.2 sport=1 dport=2 src=2.2.2.2 dst=1.1.1.1 sport=2 dport=1 mark=0 use=1\n"
    held.load(line)
    held.load(line)
    assert len(held) == 1


def test_nat_hash_forgets_removed_entries() -> None:
    """An address that is free again is not remembered."""
    held = table()
    one, two = connection(1), connection(1, zone=Zone(3, 1))
    for entry in (one, two):
        entry.status |= Status.SRC_NAT_DONE
        held.insert(entry)
    (bucket,) = held.by_source.values()
    assert bucket == [two, one]
    held.remove(two)
    held.settle()
    assert bucket == [one]
    held.remove(one)
    held.settle()
    assert not held.by_source


def test_ended_entry_counts_while_it_is_held() -> None:
    """The master's entry goes with the last connection that it expected (nf_ct_destroy)."""
    held = table()
    master, child = connection(1), connection(2)
    master.status |= Status.SRC_NAT_DONE
    child.master = master
    held.insert(master)
    held.insert(child)
    held.remove(master)
    assert held.count == 2
    (bucket,) = held.by_source.values()
    assert bucket == [master]
    held.remove(child)
    assert held.count == 0
    assert not held.by_source


def test_one_tuple_may_be_an_original_and_a_reply() -> None:
    """With zone 7 for originals of one entry and for replies of the other, both are found."""
    held = table()
    to, back = Zone(7, 1), Zone(7, 2)
    one = connection(1, zone=to)
    other = Connection(one.reply, one.original, back)
    other.timeout = one.timeout
    held.insert(one)
    held.insert(other)
    assert held.find(one.original, to) == (one, 0)
    assert held.find(one.original, back) == (other, 1)
    held.remove(other)
    assert held.find(one.original, to) == (one, 0)
    assert held.find(one.original, back) is None
    held.insert(other)
    held.remove(one)
    assert held.find(one.original, to) is None
    assert held.find(one.original, back) == (other, 1)
