"""The match `set`: which packets a set holds, by the order in which the kernel looks elements up."""

from __future__ import annotations

import pytest

from netemu.analysis.node import space_of
from netemu.analysis.reach import Reach
from netemu.net import Net
from netemu.netfilter.ipset.core import IpSets
from netemu.ruleset import parse_ruleset
from netemu.ruleset.ipset import read_sets

SETS = """
create a hash:ip
add a 192.0.2.1
add a 192.0.2.2
create masked hash:ip netmask 24
add masked 192.0.2.9
create n hash:net
add n 10.0.0.0/8
add n 10.1.0.0/16 nomatch
add n 10.1.2.0/24
create ap hash:ip,port
add ap 192.0.2.1,tcp:80
add ap 192.0.2.1,icmp:echo-request
create np hash:net,port
add np 10.0.0.0/8,udp:53
add np 10.1.0.0/16,udp:53 nomatch
create bp bitmap:port range 1-1024
add bp 22-25
create bi bitmap:ip range 10.0.0.0/16 netmask 24
add bi 10.0.3.0
create l list:set
add l a
add l n
create t hash:ip timeout 60
add t 192.0.2.1
create six hash:ip family inet6
"""


def outcome(asked: str, more: str = "", before: str = "") -> str:
    """Say whether packets with `more` are none, some or all of those that the match takes."""
    rule = f"-A FORWARD {more} -m set {asked} -j DROP"
    text = f"*filter\n{before}-A FORWARD {more} -j LOG\n{rule}\nCOMMIT\n"
    sets = Net().generic(IpSets)
    read_sets(SETS, "sets", sets)
    rules = parse_ruleset(text, "rules")
    space = space_of([rules], sets=sets)
    reach = Reach(rules, space)
    number = 2 + before.count("\n")
    taken = reach.rule("filter", "FORWARD", number).taken
    asked_all = reach.rule("filter", "FORWARD", number - 1).taken
    if space.reasons(taken):
        return "unknown"
    if not reach.rule("filter", "FORWARD", number).takes_any:
        return "none"
    return "all" if taken == asked_all else "some"


@pytest.mark.parametrize(
    ("asked", "more", "expected"),
    [
        ("--match-set a src", "-s 192.0.2.1", "all"),
        ("--match-set a src", "-s 192.0.2.0/30", "some"),
        ("--match-set a src", "-d 192.0.2.1 -s 192.0.2.4", "none"),
        ("! --match-set a src", "-s 192.0.2.1", "none"),
        ("--match-set masked dst", "-d 192.0.2.77", "all"),
        ("--match-set n src", "-s 10.2.0.0/16", "all"),
        ("--match-set n src", "-s 10.1.3.0/24", "none"),
        ("--match-set n src", "-s 10.1.2.0/24", "all"),
        ("--match-set n src --return-nomatch", "-s 10.1.3.0/24", "all"),
        ("--match-set n src --return-nomatch", "-s 10.1.2.0/24", "none"),
        ("--match-set ap dst,dst", "-d 192.0.2.1 -p tcp --dport 80", "all"),
        ("--match-set ap dst,src", "-d 192.0.2.1 -p tcp --sport 80", "all"),
        ("--match-set ap dst,dst", "-d 192.0.2.1 -p udp --dport 80", "none"),
        ("--match-set ap src,src", "-s 192.0.2.1 -p icmp --icmp-type 8/0", "all"),
        ("--match-set ap dst", "-d 192.0.2.1", "none"),
        ("--match-set np dst,dst", "-d 10.2.0.0/16 -p udp --dport 53", "all"),
        ("--match-set np dst,dst", "-d 10.1.0.0/16 -p udp --dport 53", "none"),
        ("--match-set bp dst", "-p tcp --dport 22:25", "all"),
        ("--match-set bp dst", "-p tcp --dport 26", "none"),
        ("--match-set bp dst", "-p sctp --dport 22", "none"),
        ("--match-set bi dst", "-d 10.0.3.200", "all"),
        ("--match-set bi dst", "-d 10.0.4.0/24", "none"),
        ("--match-set l src", "-s 192.0.2.2", "all"),
        ("--match-set l src", "-s 10.1.3.0/24", "none"),
        ("--match-set six src", "", "none"),
        ("--match-set t src", "", "unknown"),
        ("--match-set absent src", "", "unknown"),
        ("--match-set a src --packets-gt 3", "", "unknown"),
    ],
)
def test_the_packets_of_a_set(asked: str, more: str, expected: str) -> None:
    assert outcome(asked, more) == expected


@pytest.mark.parametrize("changed", ["a", "l"])
def test_a_set_that_rules_change_is_unknown(changed: str) -> None:
    before = f"-A FORWARD -j SET --add-set {changed} src\n"
    assert outcome("--match-set a src", "", before) == "unknown"
    assert outcome("--match-set bp dst", "-p tcp --dport 22", before) == "all"
