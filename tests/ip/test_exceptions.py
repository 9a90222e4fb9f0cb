"""What the node learns about single destinations, and when it forgets."""

from __future__ import annotations

from netemu.ip.exceptions import GC_TIMEOUT_S, MTU_EXPIRES_S, NexthopExceptions
from netemu.ip.fib_table import Nexthop
from netemu.net import Net
from netemu.wire.address import parse_address

FAR = parse_address("198.51.100.9")
SECOND_NS = 1_000_000_000


def test_a_path_mtu_is_kept_for_ten_minutes():
    net, way = Net(), Nexthop(device=None)
    known = net.generic(NexthopExceptions)
    known.learn_pmtu(way, FAR, 1300, locked=False)
    net.clock.run_until(MTU_EXPIRES_S * SECOND_NS)
    found = known.find(way, FAR)
    assert found is not None and found.pmtu == 1300
    net.clock.run_until((MTU_EXPIRES_S + 1) * SECOND_NS)
    assert known.find(way, FAR) is None


def test_a_gateway_is_kept_for_five_minutes_or_as_the_node_says():
    for seconds, settings in ((GC_TIMEOUT_S, {}), (7, {"net.ipv4.route.gc_timeout": "7"})):
        net, way = Net(), Nexthop(device=None)
        net.sysctl.values.update(settings)
        known = net.generic(NexthopExceptions)
        known.learn_gateway(way, FAR, FAR)
        net.clock.run_until(seconds * SECOND_NS)
        assert known.find(way, FAR) is not None
        net.clock.run_until((seconds + 1) * SECOND_NS)
        assert known.find(way, FAR) is None


def test_other_destinations_and_other_ways_know_nothing():
    net, way, other = Net(), Nexthop(device=None), Nexthop(device=None)
    known = net.generic(NexthopExceptions)
    known.learn_pmtu(way, FAR, 1300, locked=False)
    assert known.find(other, FAR) is None
    assert known.find(way, parse_address("198.51.100.8")) is None
