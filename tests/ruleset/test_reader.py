"""Whole texts: headers, chains, commands, errors with their places."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest

from netemu.errors import RulesetError
from netemu.netfilter.hook import Family, Verdict
from netemu.ruleset import parse_ruleset, print_ruleset

ROOT = Path(__file__).resolve().parents[2]


def table(body: str, name: str = "filter"):
    return parse_ruleset(f"*{name}\n{body}COMMIT\n").tables[0]


def rules(body: str, chain: str = "INPUT") -> list[str]:
    return [rule.text for rule in table(body).chains[chain].rules]


def test_every_built_in_chain_is_there_in_hook_order():
    assert list(table("", "nat").chains) == ["PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"]
    assert list(table("", "mangle").chains) == [
        "PREROUTING",
        "INPUT",
        "FORWARD",
        "OUTPUT",
        "POSTROUTING",
    ]


def test_policies_and_counters():
    made = table(":INPUT DROP [1:2]\n:OUTPUT - [3:4]\n:FORWARD DROP\n:FOO - [5:6]\n")
    chains = made.chains
    assert (chains["INPUT"].policy, chains["INPUT"].packets, chains["INPUT"].octets) == (
        Verdict.DROP,
        1,
        2,
    )
    assert chains["OUTPUT"].policy == Verdict.ACCEPT
    assert chains["FORWARD"].policy == Verdict.DROP
    assert (chains["FOO"].policy, chains["FOO"].packets) == (None, 0)
    assert (chains["FOO"].line, made.line) == (5, 1)
    assert [chains[name].line for name in ("INPUT", "OUTPUT", "FORWARD")] == [2, 3, 4]


def test_rules_know_their_line_and_counters():
    (rule,) = table("# a comment\n\n[7:8] -A INPUT -p tcp\n").chains["INPUT"].rules
    assert (rule.line, rule.packets, rule.octets) == (4, 7, 8)


def test_lists_of_addresses_make_a_product():
    assert rules("-A INPUT -s 1.1.1.1,2.2.2.2/16 -d 3.3.3.3,4.4.4.4\n") == [
        "-s 1.1.1.1/32 -d 3.3.3.3/32",
        "-s 1.1.1.1/32 -d 4.4.4.4/32",
        "-s 2.2.0.0/16 -d 3.3.3.3/32",
        "-s 2.2.0.0/16 -d 4.4.4.4/32",
    ]


def test_commands_edit_the_table():
    body = "-A INPUT -p 1\n-I INPUT -p 2\n-I INPUT 2 -p 4\n-R INPUT 3 -p 6\n-D INPUT -p 2\n"
    assert rules(body) == ["-p ipencap", "-p tcp"]
    assert rules("-A INPUT -p 1\n-F\n") == []
    assert rules("-A INPUT -p 1\n-D INPUT 1\n") == []


def test_chains_are_made_renamed_and_deleted():
    made = table("-N FOO\n-N BAR\n-A INPUT -g FOO\n-E FOO BAZ\n-X BAR\n-P OUTPUT DROP\n")
    assert list(made.chains) == ["INPUT", "FORWARD", "OUTPUT", "BAZ"]
    assert made.chains["INPUT"].rules[0].text == "-g BAZ"
    assert made.chains["OUTPUT"].policy == Verdict.DROP


def test_a_table_given_twice_holds_what_came_last():
    read = parse_ruleset("*filter\n-A INPUT\nCOMMIT\n*nat\nCOMMIT\n*filter\n-A OUTPUT\nCOMMIT\n")
    assert [made.name for made in read.tables] == ["filter", "nat"]
    assert len(read.tables[0].chains["INPUT"].rules) == 0
    assert len(read.tables[0].chains["OUTPUT"].rules) == 1


def test_a_chain_may_hide_a_target():
    (rule,) = table(":LOG - [0:0]\n-A INPUT -j LOG\n").chains["INPUT"].rules
    assert (rule.target, rule.jump) == (None, "LOG")


def test_ipv6_text():
    text = "*filter\n-A INPUT -s 2001:db8::1/64 -p ipv6-icmp -j DROP\n-4 -A INPUT\nCOMMIT\n"
    read = parse_ruleset(text, family=Family.IPV6)
    assert [rule.text for rule in read.tables[0].chains["INPUT"].rules] == [
        "-s 2001:db8::/64 -p ipv6-icmp -j DROP"
    ]
    assert len(read.tables[0].chains["INPUT"].rules[0].generic.source) == 16


def test_matches_stand_in_the_order_of_the_rule_and_may_repeat():
    (rule,) = (
        table("-A INPUT -m mark --mark 1 -p tcp -m comment --comment x --dport 5 -m tcp -j DROP\n")
        .chains["INPUT"]
        .rules
    )
    assert [match.name for match in rule.matches] == ["mark", "comment", "tcp", "tcp"]
    assert rule.target is not None
    assert rule.target.standard == Verdict.DROP


@pytest.mark.parametrize(
    "text, line, column, message",
    [
        ("-A INPUT\n", 1, 1, "no table yet"),
        ("*nosuch\nCOMMIT\n", 1, 2, "unable to initialize table 'nosuch'"),
        ("*filter\n", 2, 0, "COMMIT expected at line 2"),
        ("*filter\nCOMMIT", 2, 1, "Bad argument `COMMIT'"),
        ("*filter\nCOMMIT \n", 2, 1, "Bad argument `COMMIT'"),
        ("*filter\n  # x\nCOMMIT\n", 2, 3, "Bad argument `#'"),
        ("*filter\n-A INPUT -j DROP\r\nCOMMIT\n", 2, 13, "Couldn't load target `DROP\r'"),
        ("*filter\n:FOO - [0:0]\n:FOO - [0:0]\nCOMMIT\n", 3, 1, "File exists"),
        ("*filter\n:FOO DROP [0:0]\nCOMMIT\n", 2, 1, "Can't set policy `DROP' on `FOO'"),
        ("*filter\n:INPUT FOO [0:0]\nCOMMIT\n", 2, 1, "Can't set policy `FOO' on `INPUT'"),
        ("*filter\n:INPUT DROP [0]\nCOMMIT\n", 2, 13, "invalid policy counters"),
        ("*filter\n:\nCOMMIT\n", 2, 1, "chain or policy invalid"),
        ("*filter\n:" + "x" * 29 + " - [0:0]\nCOMMIT\n", 2, 1, "too long (must be under 29"),
        ("*filter\n[1:2 -A INPUT\nCOMMIT\n", 2, 1, "Bad line 2: need ]"),
        ("*filter\n[12] -A INPUT\nCOMMIT\n", 2, 1, "Bad line 2: need :"),
        ("*filter\n-A NOSUCH\nCOMMIT\n", 2, 4, "No chain/target/match by that name"),
        ("*filter\n-A INPUT -j NOSUCH\nCOMMIT\n", 2, 13, "Couldn't load target `NOSUCH'"),
        ("*filter\n-A INPUT -g NOSUCH\nCOMMIT\n", 2, 13, "goto 'NOSUCH' is not a chain"),
        ("*filter\n-A INPUT -j OUTPUT\nCOMMIT\n", 2, 13, "nothing can jump to the built-in"),
        ("*filter\n-A INPUT -o eth0\nCOMMIT\n", 2, 10, "Can't use -o with INPUT"),
        ("*filter\n-A OUTPUT -i eth0\nCOMMIT\n", 2, 11, "Can't use -i with OUTPUT"),
        ("*filter\n-A INPUT ! -s 1.1.1.1,2.2.2.2\nCOMMIT\n", 2, 12, "! not allowed with multiple"),
        ("*filter\n-A INPUT -s 1.2.3.4/40\nCOMMIT\n", 2, 10, "invalid mask `40' specified"),
        ("*filter\n-I INPUT 2\nCOMMIT\n", 2, 1, "Index of insertion too big"),
        ("*filter\n-D INPUT 2\nCOMMIT\n", 2, 1, "Index of deletion too big"),
        ("*filter\n-D INPUT -p 6\nCOMMIT\n", 2, 1, "does a matching rule exist in that chain?"),
        ("*filter\n-N ACCEPT\nCOMMIT\n", 2, 1, "chain name may not clash with target name"),
        ("*filter\n-N !x\nCOMMIT\n", 2, 1, "chain name not allowed to start with `!'"),
        ('*filter\n-N "a b"\nCOMMIT\n', 2, 1, "Invalid chain name `a b'"),
        ("*filter\n-X INPUT\nCOMMIT\n", 2, 1, "is a built-in chain"),
        ("*filter\n-N A\n-A INPUT -j A\n-X A\nCOMMIT\n", 4, 1, "Too many links"),
        ("*filter\n-N A\n-A A\n-X A\nCOMMIT\n", 4, 1, "Directory not empty"),
        ("*filter\n-F -j DROP\nCOMMIT\n", 2, 4, "Illegal option `-j' with this command"),
    ],
)
def test_errors_name_their_place(text, line, column, message):
    with pytest.raises(RulesetError) as caught:
        parse_ruleset(text, "rules.v4")
    error = caught.value
    assert message in error.message
    assert (error.file, error.line, error.column) == ("rules.v4", line, column)


def test_an_error_shows_the_line_with_a_caret():
    with pytest.raises(RulesetError) as caught:
        parse_ruleset("*filter\n-A INPUT -p tcp --dport x\nCOMMIT\n", "f")
    assert str(caught.value).splitlines()[1:] == [
        "    -A INPUT -p tcp --dport x",
        "                            ^",
    ]


def test_garbage_collection_is_left_as_it_was():
    table("")
    assert gc.isenabled()
    gc.disable()
    try:
        table("")
        assert not gc.isenabled()
    finally:
        gc.enable()


@pytest.mark.parametrize("path", sorted((ROOT / "rulesets").rglob("ip*tables-*save*")), ids=str)
def test_every_scene_prints_itself(path):
    """Scenes hold what iptables-save printed; without comments it reads back to the same text."""
    text = path.read_text(encoding="utf-8")
    kept = "".join(line for line in text.splitlines(keepends=True) if not line.startswith("#"))
    family = Family.IPV6 if "ip6tables" in path.name else Family.IPV4
    counters = any(line.startswith("[") for line in kept.splitlines())
    assert print_ruleset(parse_ruleset(text, family=family), counters=counters) == kept


def test_counters_are_skipped_on_demand():
    """As without -c, but for those that a rule itself says with -c."""
    text = "*filter\n:INPUT DROP [1:2]\n[3:4] -A INPUT\n[x:y] -A INPUT -c 5 6\nCOMMIT\n"
    chain = parse_ruleset(text, counters=False).tables[0].chains["INPUT"]
    assert (chain.policy, chain.packets, chain.octets) == (Verdict.DROP, 0, 0)
    assert [(rule.packets, rule.octets) for rule in chain.rules] == [(0, 0), (5, 6)]


def test_columns_count_skipped_counters():
    with pytest.raises(RulesetError) as caught:
        parse_ruleset("*filter\n[3:4] -A INPUT -p nosuch\nCOMMIT\n", counters=False)
    assert (caught.value.line, caught.value.column) == (2, 19)
    assert caught.value.context == "[3:4] -A INPUT -p nosuch"


def test_iptables_nft_deletes_built_in_chains_too():
    """They come back with the policy ACCEPT; one with rules stays as it is."""
    text = "*filter\n:INPUT DROP [0:0]\n:OUTPUT DROP [0:0]\n-A OUTPUT\n-X\nCOMMIT\n"
    kept = parse_ruleset(text).tables[0].chains
    assert [kept[name].policy for name in ("INPUT", "OUTPUT")] == [Verdict.DROP] * 2
    gone = parse_ruleset(text, backend="nft").tables[0].chains
    assert [gone[name].policy for name in ("INPUT", "OUTPUT")] == [Verdict.ACCEPT, Verdict.DROP]
