"""Words as add_param_to_argv of iptables 1.8.9 makes them (asked)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netemu.errors import RulesetError
from netemu.netfilter.xtables.kinds import quoted
from netemu.ruleset.grammar import parse
from netemu.ruleset.words import read_fields, read_rule_line, split_words, unquote

LINES = [
    ("-A INPUT -j DROP\n", ["-A", "INPUT", "-j", "DROP"]),
    ("  -A\tINPUT  \n", ["-A", "INPUT"]),
    ('-A "a b" c\n', ["-A", "a b", "c"]),
    ('-A x"y z" w\n', ["-A", "xy z", "w"]),
    ('-A x"y z"w\n', ["-A", "xy z", "w"]),
    ('-A "a""b"\n', ["-A", "a", "b"]),
    ('-A "" ""\n', ["-A", "", ""]),
    ('-A "a\\"b\\\\c\\x"\n', ["-A", 'a"b\\cx']),
    ("-A a\\b 'c d'\n", ["-A", "a\\b", "'c", "d'"]),
    ('-A "a\n', ["-A", "a\n"]),
    ('-A a\\"b\\\n', ["-A", "a\\b\n"]),
    ('-A "a\\"b" c "d e"\n', ["-A", 'a"b', "c", "d e"]),
    ("-A é \xa0 \x0b\n", ["-A", "é", "\xa0", "\x0b"]),
    ("- -- !x ! --a=b\n", ["-", "--", "!x", "!", "--a=b"]),
    ("[1:2 -A\n", ["[1:2", "-A"]),
]


@pytest.mark.parametrize("line, words", LINES)
def test_the_quick_way_and_the_grammar_agree(line, words):
    assert split_words(line) == words
    assert [word.text for word in read_rule_line(line).words] == words


@given(st.text(alphabet="a1\"\\ \t-![:]'é", max_size=25))
def test_words_and_columns_are_those_of_the_grammar(text):
    """Lark parses the line, too: the words kept for a quick start are not another grammar."""
    line = f"{text}\n"
    counters, *tokens = parse("rule_line", line)
    read = read_rule_line(line)
    assert read.counters == counters[0][1:-1]
    assert [(word.text, word.column) for word in read.words] == [
        (unquote(word), column) for word, column in tokens
    ]


@given(st.text(alphabet="a\"\\ \t-!'é\n", max_size=25))
def test_any_line_splits_alike(text):
    line = f"-{text}"
    assert split_words(line) == [word.text for word in read_rule_line(line).words]


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20))
def test_what_iptables_save_quotes_reads_back(text):
    assert split_words(f"-A {quoted(text)} -B\n") == ["-A", text, "-B"]


def test_columns_and_counters():
    read = read_rule_line('[5:6] -A "x y" z\n')
    assert read.counters == "5:6"
    assert [word.column for word in read.words] == [7, 10, 16]


def test_at_most_251_words():
    assert len(read_rule_line("x " * 251).words) == 251
    with pytest.raises(RulesetError, match="Parser cannot handle more arguments") as caught:
        read_rule_line("x " * 252)
    assert caught.value.column == 503


def test_header_lines_are_fields():
    assert read_fields("chain_line", ': a"b  -\t[0:0] more\n') == ['a"b', "-", "[0:0]", "more"]
    assert read_fields("table_line", "* filter x\n") == ["filter", "x"]
    for kind, line in (("chain_line", ":\n"), ("chain_line", ":X\n"), ("table_line", "*\n")):
        with pytest.raises(RulesetError, match="invalid"):
            read_fields(kind, line)


def test_unquoting_leaves_plain_words_alone():
    assert unquote("a\\b'") == "a\\b'"
