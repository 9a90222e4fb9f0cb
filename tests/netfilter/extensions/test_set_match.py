"""xt_set: rules ask the sets of their namespace."""

from __future__ import annotations

import pytest

from netemu import events
from netemu.errors import RulesetError
from netemu.net import Net
from netemu.netfilter.ipset.core import IpSets
from netemu.netfilter.xtables.model import BoundMatch
from netemu.ruleset.ipset import print_sets, read_sets
from netemu.wire.fields import set16
from tests.netfilter.extensions.packets import match, packet, param, rule

SETS = """\
create NETS hash:net counters
add NETS 10.0.0.0/8 packets 2 bytes 200
add NETS 10.0.0.2 nomatch
create PORTS hash:ip,port
add PORTS 10.0.0.2,udp:53
"""


def net_with(sets: str = SETS) -> Net:
    net = Net()
    read_sets(sets, "sets", net.generic(IpSets))
    return net


def udp(port: int = 53):
    payload = bytearray(8)
    set16(payload, 0, 1000)
    set16(payload, 2, port)
    return packet(bytes(payload), 17)


def asks(words: str, net: Net) -> bool:
    bound: BoundMatch = match(f"-m set {words}", net)
    skb = udp()
    return bound.evaluate(bound.settings, skb, param(skb, net))


def test_a_set_that_does_not_exist_is_refused_with_those_that_do():
    with pytest.raises(RulesetError, match="Set NO doesn't exist; there are NETS, PORTS"):
        match("-m set --match-set NO src", net_with())


@pytest.mark.parametrize(
    ("words", "matched"),
    [
        ("--match-set NETS src", True),
        ("! --match-set NETS src", False),
        ("--match-set NETS dst", False),
        ("--match-set NETS dst --return-nomatch", True),
        ("--match-set NETS src --return-nomatch", False),
        ("--match-set PORTS dst,dst", True),
        ("--match-set PORTS dst,src", False),
        ("--match-set PORTS dst", False),
        ("! --match-set PORTS dst", True),
        ("--match-set PORTS dst,dst,src", True),
        ("--match-set NETS src --packets-eq 3", True),
        ("--match-set NETS src ! --packets-eq 3", False),
        ("--match-set NETS src --packets-gt 2", True),
        ("--match-set NETS src --packets-lt 3", False),
        ("--match-set NETS src ! --update-counters --packets-lt 3", True),
        ("--match-set NETS src --bytes-gt 227", True),
        ("--match-set NETS src --bytes-gt 228", False),
        ("--match-set PORTS dst,dst --packets-gt 9", True),
    ],
)
def test_directions_and_options(words, matched):
    """Counters are compared after the packet is counted; a set without them is not compared."""
    assert asks(words, net_with()) is matched


def test_the_lookup_counts():
    net = net_with()
    asks("--match-set NETS src", net)
    assert "add NETS 10.0.0.0/8 packets 3 bytes 228\n" in print_sets(net.generic(IpSets))


def test_a_set_that_rules_name_is_held():
    net = net_with()
    match("-m set --match-set NETS src", net)
    assert net.generic(IpSets).need("NETS").references == 1


def test_a_trace_tells_what_was_looked_up_and_why():
    net = net_with()
    told: list[events.Event] = []
    net.sink = lambda stamp, event: told.append(event)
    asks("--match-set NETS dst", net)
    asks("--match-set PORTS dst", net)
    assert told == [
        events.SetLookedUp(
            set="NETS", type="hash:net", key="10.0.0.2", matched=False, why="10.0.0.2 nomatch"
        ),
        events.SetLookedUp(
            set="PORTS",
            type="hash:ip,port",
            key="",
            matched=False,
            why="hash:ip,port needs 2 directions, the rule gives 1",
        ),
    ]


def test_what_failed_is_said_without_counting():
    net = net_with()
    bound = match("-m set --match-set PORTS src,dst", net)
    assert bound.describe is not None
    skb = udp()
    assert bound.describe(bound.settings, skb, param(skb, net)) == "10.0.0.1,udp:53, not in PORTS"


def test_a_later_fragment_has_no_port():
    net = net_with()
    bound = match("-m set --match-set PORTS dst,dst", net)
    skb = packet(bytes(8), 17, offset=3)
    assert not bound.evaluate(bound.settings, skb, param(skb, net))


def test_the_rule_prints_as_it_was_written():
    words = "-m set ! --match-set NETS src --return-nomatch ! --update-counters --packets-gt 3"
    assert rule(words).text == words
