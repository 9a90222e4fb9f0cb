"""Rules of a shape met before come out as if each stood alone."""

from __future__ import annotations

import pytest

from netemu.errors import RulesetError
from netemu.ruleset import parse_ruleset
from netemu.ruleset.build import Circumstances
from netemu.ruleset.shapes import ShapeCache

HEAD = "*filter\n:FOO - [0:0]\n:BAR - [0:0]\n"


def texts(*lines: str, chain: str = "INPUT") -> list[str]:
    body = "".join(f"{line}\n" for line in lines)
    return [
        rule.text for rule in parse_ruleset(f"{HEAD}{body}COMMIT\n").tables[0].chains[chain].rules
    ]


@pytest.mark.parametrize(
    "lines",
    [
        ["-A INPUT -s 1.1.1.1 -j FOO", "-A INPUT -s 2.2.2.2/8 -j BAR", "-A INPUT -s 0/0 -j FOO"],
        ["-A INPUT -s 1.1.1.1", "-A INPUT -s 1.1.1.1,2.2.2.2"],
        ["-A INPUT -j FOO", "-A INPUT -j DROP", "-A INPUT -g FOO", "-A INPUT -j ACCEPT"],
        ["-A INPUT -p tcp --dport 1", "-A INPUT -p tcp --dport 2:3", "-A INPUT -p udp --dport 2"],
        ["-A INPUT -p 6 --dport 1", "-A INPUT -p 17 --dport 1"],
        ["-A INPUT -m comment --comment a", '-A INPUT -m comment --comment "-p x"'],
        ["-A INPUT -m comment --comment a", "-A INPUT -m comment --comment -p"],
        ["-A INPUT -m comment --comment a -j FOO", "-A INPUT -m comment --comment -j -j FOO"],
        ["-A INPUT -p tcp --tcp-flags SYN SYN", "-A INPUT -p tcp --tcp-flags ALL ACK"],
        [
            "-A INPUT -m mark --mark 1 -m mark --mark 2",
            "-A INPUT -m mark --mark 3 -m mark --mark 3",
        ],
        ["-A INPUT -p tcp --syn", "-A INPUT -p tcp --syn"],
        ["-A INPUT -i a", "-A INPUT -i b+", "-A INPUT -i +", "-A INPUT ! -i +"],
        ["-A INPUT -j MARK --set-mark 1", "-A INPUT -j MARK --set-mark 2/3"],
        ["-A INPUT -m comment --comment tcp -p tcp", "-A INPUT -m comment --comment x -p udp"],
    ],
)
def test_each_rule_as_if_alone(lines):
    alone = [text for line in lines for text in texts(line)]
    assert texts(*lines) == alone
    assert texts(*lines, *lines) == alone * 2


@pytest.mark.parametrize(
    "good, bad",
    [
        ("-A INPUT -s 1.1.1.1", "-A INPUT -s 1.1.1.256"),
        ("-A INPUT -j FOO", "-A INPUT -j NOSUCH"),
        ("-A INPUT -j FOO", "-A INPUT -j OUTPUT"),
        ("-A INPUT -i a", "-A OUTPUT -i a"),
        ("-A INPUT -i a", '-A INPUT -i ""'),
        ("-A INPUT -i a", "-A INPUT -i " + "x" * 16),
        ("-A OUTPUT -o a", "-A INPUT -o a"),
        ("-A INPUT -p tcp --dport 1", "-A INPUT -p tcp --dport x"),
        ("-A INPUT -p tcp --tcp-flags SYN SYN", "-A INPUT -p tcp --tcp-flags SYN -j"),
        ("-A INPUT -p tcp --tcp-flags SYN SYN", "-A INPUT -p tcp --tcp-flags SYN !"),
        ("-A INPUT -p 6", "-A INPUT -p x"),
        ("-A INPUT -m mark --mark 1", "-A NOSUCH -m mark --mark 1"),
        (
            "-A INPUT -m statistic --mode nth --every 3 --packet 1",
            "-A INPUT -m statistic --mode nth --every 3 --packet 3",
        ),
    ],
)
def test_an_error_is_found_and_placed_all_the_same(good, bad):
    with pytest.raises(RulesetError) as alone:
        texts(bad)
    with pytest.raises(RulesetError) as behind:
        texts(good, bad)
    assert behind.value.message == alone.value.message
    assert (behind.value.line, behind.value.column) == (5, alone.value.column)


def test_only_values_that_never_change_are_shared():
    line = "-A INPUT -m mark --mark 1 -m limit -m statistic --mode nth --every 2 --packet 0\n"
    rules = parse_ruleset(f"{HEAD}{line * 3}COMMIT\n").tables[0].chains["INPUT"].rules
    second, third = rules[1].matches, rules[2].matches
    assert second[0] is third[0]
    assert second[1].settings is not third[1].settings
    assert second[2].settings is not third[2].settings


PLAIN = (
    '-A INPUT -s 10.0.0.1/32 -m comment --comment "a b" -j FOO',
    '-A INPUT -s 10.0.0.2/31 -m comment --comment "c d" -j BAR',
)


def test_parts_of_plain_lines_are_made_when_asked_for():
    rules = parse_ruleset("\n".join([HEAD + PLAIN[0], *PLAIN * 3, "COMMIT", ""])).tables[0]
    first, second, third = rules.chains["INPUT"].rules[3:6]
    assert first.shape is not None
    assert first.shape is second.shape
    assert second.generic.source == b"\x0a\0\0\x02"
    assert second.matches[0].text == '-m comment --comment "c d"'
    assert first.matches[0] is third.matches[0]
    assert second.target is None


def test_a_value_that_is_not_plain_is_still_looked_at():
    lines = [*PLAIN * 2, '-A INPUT -s 10.1/16 -m comment --comment "é" -j FOO', *PLAIN]
    assert texts(*lines) == [text for line in lines for text in texts(line)]
    with pytest.raises(RulesetError) as caught:
        texts(*PLAIN * 2, PLAIN[0].replace("10.0.0.1", "10.0.0.256"))
    assert caught.value.line == 8


@pytest.mark.parametrize(
    "line, message",
    [
        ("-A INPUT -p tcp -s 1.1.1.{} -j DNAT --to-destination 1.1.1.1:{}", "only valid in table"),
        ("-A FOO -p tcp -s 1.1.1.{} -j DNAT --to-destination 1.1.1.1:{}", "only valid in table"),
        ("-A INPUT -s 1.1.1.{} -m tcp --dport {}", "needs -p tcp"),
    ],
)
def test_what_commit_refuses_of_one_shape_has_its_line(line, message):
    with pytest.raises(RulesetError) as alone:
        texts(line.format(1, 1))
    with pytest.raises(RulesetError) as last:
        texts("-A INPUT -p tcp -s 1.1.1.1 -j ACCEPT", *[line.format(n, n) for n in range(1, 5)])
    assert message in alone.value.message
    assert last.value.message == alone.value.message
    assert (last.value.line, last.value.column) == (5, alone.value.column)


def test_an_empty_cache_knows_nothing():
    table = parse_ruleset(f"{HEAD}COMMIT\n").tables[0]
    cache = ShapeCache(Circumstances())
    assert not cache.match(table.chains, "-A INPUT", 1)
    assert not cache.append(table.chains, "-A INPUT", ["-A", "INPUT"], None, 1)
