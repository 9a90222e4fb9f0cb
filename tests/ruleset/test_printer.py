"""Printing as iptables-save prints."""

from __future__ import annotations

from netemu.ruleset import (
    parse_ruleset,
    print_chain,
    print_rule,
    print_ruleset,
    print_table,
)

TEXT = """\
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [1:2]
:POSTROUTING DROP [0:0]
:Foo - [0:0]
:a"b - [0:0]
:abc - [0:0]
[3:4] -A PREROUTING -j abc
[0:0] -A abc
COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
COMMIT
"""


def test_user_chains_in_order_of_octets_tables_in_order_of_the_file():
    shuffled = TEXT.replace(":abc - [0:0]\n", "").replace(":Foo", ":abc - [0:0]\n:Foo")
    assert print_ruleset(parse_ruleset(shuffled)) == TEXT


def test_without_counters_rules_have_none_and_chains_keep_theirs():
    printed = print_ruleset(parse_ruleset(TEXT), counters=False)
    assert printed == TEXT.replace("[3:4] ", "").replace("[0:0] -A", "-A")


def test_parts():
    table = parse_ruleset(TEXT).tables[0]
    assert print_chain(table.chains["PREROUTING"]) == "[3:4] -A PREROUTING -j abc\n"
    assert print_chain(table.chains["abc"], counters=False) == "-A abc\n"
    assert print_rule(table.chains["PREROUTING"].rules[0]) == "-j abc"
    assert print_table(table) == TEXT[: TEXT.index("*filter")]
