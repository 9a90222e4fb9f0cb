"""What a chain's index names; that a table does the same with it is tests/property/test_gears.py."""

from __future__ import annotations

import pytest

from netemu.netfilter.hook import Hook
from netemu.netfilter.xtables.entry import XtTable
from netemu.netfilter.xtables.index import shown_port
from netemu.ruleset import parse_ruleset

ANY = {"saddr": 1, "daddr": 1, "protocol": 6, "port": 80, "in_name": "eth0", "out_name": "eth1"}


def index_of(*rules: str, times: int = 1):
    lines = "\n".join(f"-A FORWARD {rule.format(n=n)}" for n in range(times) for rule in rules)
    table = parse_ruleset(f"*filter\n{lines}\nCOMMIT\n").tables[0]
    linked = XtTable(table).hook_entry[Hook.FORWARD].index
    return linked.index if linked is not None else None


@pytest.mark.parametrize(
    "rule, packet",
    [
        ("-d 0.0.0.{n} -j DROP", {"daddr": 7}),
        ("-s 0.0.{n}.0/24 -j DROP", {"saddr": 0x0709}),
        ("-i eth{n} -j DROP", {"in_name": "eth7"}),
        ("-o eth{n} -j DROP", {"out_name": "eth7"}),
        ("-p 1{n:02} -j DROP", {"protocol": 107}),
        ("-p tcp -m comment --comment x -m tcp --dport {n} -j DROP", {"port": 7}),
    ],
)
def test_the_next_rule_that_can_match_is_named(rule, packet):
    index = index_of(rule, times=100)
    shown = {**ANY, "saddr": 0xFF000000, "daddr": 0xFF000000, "port": 999, "protocol": 6}
    shown |= {"in_name": "lo", "out_name": "lo"} | packet
    shown["protocol"] = packet.get("protocol", 6 if "tcp" in rule else 250)
    assert index.following(1, **shown) == 8
    assert index.following(8, **shown) == 8
    assert index.following(9, **shown) == 101


@pytest.mark.parametrize(
    "rule",
    [
        "! -d 0.0.0.{n} -j DROP",
        "-i eth+ -j DROP",
        "-p tcp -m tcp --dport {n}:1000 -j DROP",
        "-p tcp -m statistic --mode random --probability 0.5 -m tcp --sport {n} -j DROP",
    ],
)
def test_a_chain_that_no_field_tells_apart_is_walked(rule):
    assert index_of(rule, times=100) is None


def test_a_match_that_leaves_something_behind_runs_before_the_port_counts():
    index = index_of(
        "-p tcp -d 0.0.0.{n} -m statistic --mode nth --every 2 --packet 0 -m tcp --dport 1",
        times=100,
    )
    assert index.following(1, **{**ANY, "daddr": 7, "port": 2}) == 8


def test_short_chains_are_walked():
    assert index_of("-d 0.0.1.{n} -j DROP", times=15) is None
    assert index_of("-d 0.0.1.{n} -j DROP", times=16) is not None


@pytest.mark.parametrize(
    "protocol, length, fragoff, port",
    [
        (6, 40, 0, 80),
        (6, 39, 0, -1),
        (17, 28, 0, 80),
        (17, 27, 0, -1),
        (1, 20, 0, 0),
        (6, 40, 1, -1),
    ],
)
def test_ports_of_fragments_and_short_packets_are_not_shown(protocol, length, fragoff, port):
    data = bytearray(60)
    data[22:24] = (80).to_bytes(2, "big")
    assert shown_port(data[:length], protocol, 20, fragoff) == port
