"""Early drop: 8 buckets, and in the first of them that has a candidate, all candidates."""

from __future__ import annotations

import pytest

from netemu.clock import NSEC_PER_SEC, Clock
from netemu.entropy import Entropy
from netemu.net import Net
from netemu.netfilter.conntrack.connection import Connection, Status
from netemu.netfilter.conntrack.core import nf_conntrack_confirm, nf_conntrack_in
from netemu.netfilter.conntrack.eviction import early_drop
from netemu.netfilter.conntrack.table import Conntrack
from netemu.netfilter.conntrack.tuple import Tuple, inverse
from netemu.netfilter.hook import Family, Hook, HookState, Verdict
from netemu.skb import ETH_P_IP, Skb
from netemu.wire.ipv4 import build_ipv4
from netemu.wire.udp import build_udp

A, B = bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2])

STATE = HookState(
    family=Family.IPV4, hook=Hook.PREROUTING, in_device=None, out_device=None, okfn=lambda skb: None
)


def udp(port: int) -> Tuple:
    return Tuple(A, B, 17, port, 53)


def filled(buckets: int, entries: int, *, assured: int = 0) -> Conntrack:
    """Return a table whose first entries are assured; all live for 10 s."""
    net = Net(clock=Clock(0, 250))
    net.sysctl.set("net.netfilter.nf_conntrack_buckets", str(buckets))
    held = net.generic(Conntrack)
    for port in range(1, entries + 1):
        one = Connection(udp(port), inverse(udp(port)))
        one.timeout = 10 * 250
        if port <= assured:
            one.status |= Status.ASSURED
        held.insert(one)
    return held


def drop(held: Conntrack, port: int = 9999) -> bool:
    return early_drop(held.net, held, udp(port), 0)


def test_the_assured_are_spared() -> None:
    held = filled(8, 20, assured=5)
    while drop(held):
        pass
    assert [entry.original.src_part for entry in held] == [1, 2, 3, 4, 5]


def test_all_candidates_of_one_bucket_go() -> None:
    """In a table of one bucket, that is all of them at once."""
    held = filled(1, 20)
    assert drop(held)
    assert len(held) == 0


def test_a_sparse_table_has_nothing_to_drop() -> None:
    """8 of 262144 buckets hold none of 20 entries: the newcomer is dropped instead."""
    assert not drop(filled(262144, 20))


def test_entries_that_came_later_are_looked_at() -> None:
    held = filled(8, 1, assured=1)
    assert not drop(held)
    late = Connection(udp(77), inverse(udp(77)))
    late.timeout = 2500
    held.insert(late)
    assert drop(held)
    assert not drop(held)


def test_what_ended_a_minute_ago_is_gone_anyway() -> None:
    """The gc worker has been round by then; before, only an entry that is met goes."""
    held = filled(262144, 20)
    held.net.clock.run_until(69 * NSEC_PER_SEC)
    assert not drop(held)
    assert held.count == 20
    held.net.clock.run_until(70 * NSEC_PER_SEC)
    assert drop(held)
    assert held.count == 0


def passed_of_300(buckets: int, most: int, seed: int) -> int:
    """Return how many of 300 new flows get into a table that is full of unanswered ones."""
    net = Net(clock=Clock(0, 250), entropy=Entropy(seed, ""), kernel="6.1")
    net.sysctl.set("net.netfilter.nf_conntrack_buckets", str(buckets))
    net.sysctl.set("net.netfilter.nf_conntrack_max", str(most))
    net.sysctl.set("net.core.message_cost", "0")
    passed = 0
    for number in range(most + 300):
        packet = build_ipv4(
            src=A, dst=B, protocol=17,
            payload=bytes(build_udp(src=A, dst=B, src_port=1000 + number, dst_port=53)),
        )  # fmt: skip
        skb = Skb(packet, protocol=ETH_P_IP, fate=net.new_fate())
        verdict = nf_conntrack_in(net, skb, STATE)
        nf_conntrack_confirm(net, skb)
        passed += verdict == Verdict.ACCEPT
    assert len(net.log) == most + 300 - passed
    return passed - most


@pytest.mark.parametrize(
    "most,kernel",
    [(100, (290, 285, 298, 293)), (400, (300, 300, 300, 300)), (50, (241, 231, 256, 243))],
)
def test_as_many_get_in_as_in_the_kernel(most: int, kernel: tuple[int, ...]) -> None:
    """`kernel` is what Linux 6.1.192 did four times, with 512 buckets and a key of its own each."""
    ours = [passed_of_300(512, most, seed) for seed in range(8)]
    mean = sum(ours) / len(ours)
    expected = sum(kernel) / len(kernel)
    assert abs(mean - expected) <= 8, ours
