"""Packets for a program: one that decides, none, and flows over several queues."""

from __future__ import annotations

import pytest

from netemu.net import Net
from netemu.netfilter.hook import Verdict
from netemu.netfilter.xtables.queues import Queues
from tests.netfilter.extensions.targets import apply, udp


def test_without_a_program():
    skb = udp()
    assert apply("-j NFQUEUE --queue-num 5", skb) == Verdict.QUEUE
    assert skb.fate.queue_number == 5
    assert skb.fate.verdict == "QUEUE"


def test_bypass():
    skb = udp()
    assert apply("-j NFQUEUE --queue-bypass", skb) == Verdict.ACCEPT
    assert skb.fate.queue_number is None


@pytest.mark.parametrize("verdict", [Verdict.ACCEPT, Verdict.DROP])
def test_a_program_decides_and_may_change_the_packet(verdict):
    net = Net()

    def program(skb):
        skb.mark = 7
        return verdict

    net.generic(Queues).listen(3, program)
    skb = udp()
    assert apply("-j NFQUEUE --queue-num 3", skb, net=net) == verdict
    assert skb.mark == 7
    net.generic(Queues).close(3)
    assert apply("-j NFQUEUE --queue-num 3", skb, net=net) == Verdict.QUEUE


def test_both_directions_of_a_flow_have_one_queue():
    net = Net()
    there, back = udp(), udp()
    back.data[12:16], back.data[16:20] = there.data[16:20], there.data[12:16]
    for skb in (there, back):
        apply("-j NFQUEUE --queue-balance 10:19", skb, net=net)
    assert there.fate.queue_number == back.fate.queue_number
    assert 10 <= (there.fate.queue_number or 0) <= 19


def test_fanout_is_cpu_0():
    skb = udp()
    apply("-j NFQUEUE --queue-balance 10:19 --queue-cpu-fanout", skb)
    assert skb.fate.queue_number == 10
