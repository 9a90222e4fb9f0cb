"""SET adds to sets, deletes from them, and takes marks from elements."""

from __future__ import annotations

import pytest

from netemu import events
from netemu.errors import RulesetError
from netemu.net import Net
from netemu.netfilter.ipset.core import IpSets
from netemu.ruleset.ipset import print_sets, read_sets
from tests.netfilter.extensions.targets import apply, udp


def net_with(text: str) -> Net:
    net = Net()
    read_sets(text, "sets", net.generic(IpSets))
    return net


def elements(net: Net) -> list[str]:
    lines = print_sets(net.generic(IpSets)).splitlines()
    return [line for line in lines if line.startswith("add ")]


def test_a_set_must_exist():
    with pytest.raises(RulesetError, match=r"Set banned doesn't exist; .* --ipset FILE"):
        apply("-j SET --add-set banned src --exist", udp())


@pytest.mark.parametrize(
    ("words", "left"),
    [
        ("--add-set a src", ["add a 10.0.0.1 timeout 60", "add a 10.0.0.9 timeout 60"]),
        ("--add-set a src --timeout 7", ["add a 10.0.0.1 timeout 7", "add a 10.0.0.9 timeout 60"]),
        ("--add-set a src --timeout 0", ["add a 10.0.0.1 timeout 0", "add a 10.0.0.9 timeout 60"]),
        ("--add-set a src,dst --del-set a src", ["add a 10.0.0.9 timeout 60"]),
        ("--del-set a dst", ["add a 10.0.0.9 timeout 60"]),
    ],
)
def test_elements_come_and_go(words, left):
    net = net_with("create a hash:ip timeout 60\nadd a 10.0.0.9\n")
    assert apply(f"-j SET {words}", udp(), net=net) is None
    assert sorted(elements(net)) == left


def test_an_element_that_is_there_keeps_its_time_unless_exist():
    net = net_with("create a hash:ip timeout 60\nadd a 10.0.0.1 timeout 5\n")
    apply("-j SET --add-set a src", udp(), net=net)
    assert elements(net) == ["add a 10.0.0.1 timeout 5"]
    apply("-j SET --add-set a src --exist", udp(), net=net)
    assert elements(net) == ["add a 10.0.0.1 timeout 60"]


def test_marks_and_priorities_come_from_the_element():
    net = net_with("create a hash:ip skbinfo\nadd a 10.0.0.1 skbmark 0x10/0xff skbprio 1:a\n")
    skb = udp()
    skb.mark = 0x1234
    apply("-j SET --map-set a src --map-mark --map-prio", skb, net=net)
    assert (skb.mark, skb.priority) == (0x1210, 0x1000A)


def test_without_a_hit_nothing_is_mapped():
    net = net_with("create a hash:ip skbinfo\nadd a 10.9.9.9 skbmark 0x10\n")
    skb = udp()
    skb.mark = 7
    apply("-j SET --map-set a src --map-mark", skb, net=net)
    assert skb.mark == 7


def test_a_trace_tells_the_change_or_why_there_is_none():
    net = net_with("create a hash:ip maxelem 1\n")
    told: list[events.Event] = []
    net.sink = lambda stamp, event: told.append(event)
    apply("-j SET --add-set a src", udp(), net=net)
    apply("-j SET --add-set a dst", udp(), net=net)
    changes = [event for event in told if isinstance(event, events.SetChanged)]
    assert changes == [
        events.SetChanged(set="a", change="add", key="10.0.0.1", why=""),
        events.SetChanged(
            set="a", change="add", key="10.0.0.2", why="Hash is full, cannot add more elements"
        ),
    ]
    assert net.log == ["Set a is full, maxelem 1 reached"]
