"""Which packets reach which rule, by small rule sets whose answers are plain to see."""

from __future__ import annotations

import pytest

from netemu.analysis.node import space_of
from netemu.analysis.reach import Reach
from netemu.netfilter.hook import Family
from netemu.ruleset import parse_ruleset

CHAINS = {
    "filter": "INPUT FORWARD OUTPUT",
    "nat": "PREROUTING INPUT OUTPUT POSTROUTING",
    "mangle": "PREROUTING INPUT FORWARD OUTPUT POSTROUTING",
    "raw": "PREROUTING OUTPUT",
}


def analyse(*rules: str, policy: str = "ACCEPT", family: Family = Family.IPV4) -> Reach:
    """Analyse rules; a table begins with `*TABLE`, filter where none is named."""
    if not rules[0].startswith("*"):
        rules = ("*filter", *rules)
    lines: list[str] = []
    for place, rule in enumerate(rules):
        if rule.startswith("*"):
            lines += ["COMMIT"] * bool(lines)
            body = rules[place + 1 :]
            end = next((at for at, other in enumerate(body) if other.startswith("*")), len(body))
            built_in = CHAINS[rule[1:]].split()
            own = dict.fromkeys(
                word.split()[1] for word in body[:end] if word.split()[1] not in built_in
            )
            lines.append(rule)
            lines += [f":{name} {policy} [0:0]" for name in built_in]
            lines += [f":{name} - [0:0]" for name in own]
        else:
            lines.append(rule)
    text = "\n".join([*lines, "COMMIT", ""])
    ruleset = parse_ruleset(text, "test", family=family)
    return Reach(ruleset, space_of([ruleset]))


def dead(*rules: str, policy: str = "ACCEPT", family: Family = Family.IPV4) -> list[str]:
    """Return the rules that take no packet."""
    reach = analyse(*rules, policy=policy, family=family)
    return [f"{rule.chain.name} {rule.number}" for rule in reach.rules() if not rule.takes_any]


A = "-A INPUT"


@pytest.mark.parametrize(
    "rules",
    [
        # a union of rules
        [f"{A} -s 10.0.0.0/9 -j DROP", f"{A} -s 10.128.0.0/9 -j DROP", f"{A} -s 10.9.0.0/16 -j LOG"],
        [f"{A} -p tcp -j DROP", f"{A} ! -p tcp -j DROP", f"{A} -j ACCEPT"],
        [f"{A} -i eth0 -j DROP", f"{A} ! -i eth0 -j DROP", f"{A} -s 10.9.9.9 -j ACCEPT"],
        [f"{A} -i eth+ -j DROP", f"{A} -p udp -j LOG", f"{A} -i eth1 -j ACCEPT"],
        # ports
        [f"{A} -p tcp -m tcp --dport 1:30000 -j DROP", f"{A} -p tcp -m tcp --dport 20000: -j DROP",
         f"{A} -p tcp -m multiport --dports 22,80 -j ACCEPT"],
        # state
        [f"{A} -m conntrack --ctstate NEW,RELATED,ESTABLISHED -j DROP", f"{A} -m state --state INVALID -j DROP",
         f"{A} -p tcp -m conntrack --ctstate RELATED -j ACCEPT"],
        # chains that return
        [f"{A} -p tcp -j C", "-A C -m tcp -p tcp --dport 22 -j RETURN", "-A C -j DROP",
         f"{A} -p tcp -m tcp --dport 23 -j ACCEPT"],
        # goto does not come back
        [f"{A} -p tcp -g C", "-A C -p tcp -m tcp --dport 22 -j LOG", f"{A} -p tcp -j ACCEPT"],
        # marks
        [f"{A} -j MARK --set-xmark 0x1/0x1", f"{A} -s 10.0.0.1 -j LOG", f"{A} -m mark ! --mark 0x1/0x1 -j DROP"],
        [f"{A} -j MARK --set-xmark 0x0/0xffffffff", f"{A} -p tcp -j MARK --set-xmark 0x4/0x4",
         f"{A} ! -p tcp -m mark --mark 0x4/0x4 -j DROP"],
    ],
)  # fmt: skip
def test_the_last_rule_is_taken_by_no_packet(rules):
    assert dead(*rules)[-1:] == [_last(rules)]


def _last(rules: list[str]) -> str:
    chain = rules[-1].split()[1]
    return f"{chain} {sum(rule.split()[1] == chain for rule in rules)}"


@pytest.mark.parametrize(
    "rules",
    [
        [f"{A} -s 10.0.0.0/9 -j DROP", f"{A} -s 10.128.0.0/10 -j DROP", f"{A} -s 10.200.0.0/16 -j LOG"],
        [f"{A} -i eth+ -j DROP", f"{A} -i wlan0 -j ACCEPT"],
        [f"{A} -i eth0 -j DROP", f"{A} -i eth+ -j ACCEPT"],
        [f"{A} -m limit --limit 1/sec -j DROP", f"{A} -m limit --limit 1/sec -j DROP"],
        [f"{A} -p tcp -j C", "-A C -j RETURN", f"{A} -p tcp -j DROP"],
        [f"{A} -m conntrack --ctstate ESTABLISHED -j DROP", f"{A} -m conntrack --ctstate RELATED -j DROP"],
        # a chain that draws does so anew for each visit
        [f"{A} -j C", f"{A} -j C", "-A C -m statistic --mode random --probability 0.5 -j DROP",
         f"{A} -p tcp -j DROP"],
        [f"{A} -p tcp -j MARK --set-xmark 0x1/0x1", f"{A} -m mark ! --mark 0x1/0x1 -j DROP"],
    ],
)  # fmt: skip
def test_every_rule_takes_some_packet(rules):
    assert dead(*rules) == []


def test_a_new_destination_is_what_forward_sees():
    rules = (
        "*nat",
        "-A PREROUTING -d 192.0.2.1 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 10.0.0.5:80",
        "*filter",
        "-A FORWARD -d 192.0.2.1 -p tcp -m conntrack --ctstate NEW -m tcp --dport 8080 -j DROP",
        "-A FORWARD -d 10.0.0.5 -p tcp -m tcp --dport 80 -j DROP",
        "-A FORWARD -d 10.0.0.5 -p tcp -m conntrack --ctstate NEW -m tcp --dport 80 -j DROP",
    )
    assert dead(*rules) == ["FORWARD 1", "FORWARD 3"]
    reach = analyse(*rules)
    taken = reach.rule("filter", "FORWARD", 2).taken
    before = reach.rule("nat", "PREROUTING", 1).taken
    assert reach.space.diagram.meet(taken, before)


def test_raw_knows_no_connection_and_notrack_makes_packets_untracked():
    rules = (
        "*raw",
        "-A PREROUTING ! -i lo -m conntrack --ctstate NEW -j DROP",
        "-A PREROUTING -p udp -j CT --notrack",
        "*filter",
        "-A INPUT -p udp ! -i lo -m conntrack --ctstate NEW -j DROP",
        "-A INPUT -p tcp -m conntrack --ctstate UNTRACKED -j DROP",
        "-A INPUT -m conntrack --ctstate UNTRACKED -j DROP",
    )
    assert dead(*rules) == ["PREROUTING 1", "INPUT 1", "INPUT 2"]


def test_what_is_not_modelled_is_told():
    words = "-m conntrack --ctexpire 5:9"
    reach = analyse(f"-A INPUT {words} -j DROP", f"-A INPUT {words} -j ACCEPT")
    assert reach.rule("filter", "INPUT", 2).takes_any
    assert reach.space.reasons(reach.rule("filter", "INPUT", 1).taken) == [words]


def test_what_all_rules_are_told_alike_is_one_variable():
    words = '-m string --string "x" --algo bm'
    assert dead(f"-A INPUT {words} -j DROP", f"-A INPUT {words} -j ACCEPT") == ["INPUT 2"]


def test_ipv6_addresses_have_their_own_width():
    rules = (
        "-A INPUT -s 2001:db8::/33 -j DROP",
        "-A INPUT -s 2001:db8:8000::/33 -j DROP",
        "-A INPUT -s 2001:db8:9::/48 -j ACCEPT",
        "-A INPUT -s 2001:db9::/48 -j ACCEPT",
    )
    assert dead(*rules, family=Family.IPV6) == ["INPUT 3"]
