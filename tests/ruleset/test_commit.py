"""What the kernel refuses at COMMIT (asked of 6.18 with iptables-legacy)."""

from __future__ import annotations

import pytest

from netemu.errors import RulesetError
from netemu.netfilter.hook import Hook
from netemu.ruleset import parse_ruleset
from netemu.ruleset.commit import jumps_of, reaching_hooks


def load(body: str, table: str = "filter"):
    return parse_ruleset(f"*{table}\n:A - [0:0]\n:B - [0:0]\n:C - [0:0]\n{body}COMMIT\n")


@pytest.mark.parametrize(
    "body, line, way",
    [
        ("-A INPUT -j A\n-A A -j B\n-A B -j A\n", 7, "A -> B -> A"),
        ("-A INPUT -j A\n-A A -p 6\n-A A -j A\n", 7, "A -> A"),
        ("-A INPUT -j A\n-A A -g B\n-A B -j C\n-A C -g B\n", 8, "B -> C -> B"),
    ],
)
def test_loops_that_a_hook_reaches(body, line, way):
    with pytest.raises(RulesetError) as caught:
        load(body)
    assert "Too many levels of symbolic links" in caught.value.message
    assert caught.value.message.endswith(way)
    assert (caught.value.line, caught.value.column) == (line, 9)
    assert caught.value.context == body.splitlines()[line - 5]


@pytest.mark.parametrize(
    "body",
    [
        "-A A -j B\n-A B -j A\n",
        "-A INPUT -j A\n-A INPUT -j B\n-A A -j C\n-A B -j C\n",
        "-A INPUT -j A\n-A INPUT -j A\n-A OUTPUT -j A\n",
    ],
)
def test_no_loop(body):
    """Chains that no hook reaches may loop; two ways to one chain are none."""
    assert load(body)


def test_hooks_that_reach_a_chain():
    table = load("-A INPUT -j A\n-A OUTPUT -j B\n-A A -j B\n").tables[0]
    reached = reaching_hooks(table, jumps_of(table), lambda rule, name: 1)
    assert reached["A"] == {Hook.INPUT}
    assert reached["B"] == {Hook.INPUT, Hook.OUTPUT}
    assert "C" not in reached


@pytest.mark.parametrize(
    "table, body, message",
    [
        ("filter", "-A A -j DNAT --to-destination 1.1.1.1\n", "only valid in table nat"),
        ("nat", "-A A -j REJECT\n", "only valid in table filter"),
        ("nat", "-A POSTROUTING -j DNAT --to-destination 1.1.1.1\n", "used from hooks POSTROUTING"),
        (
            "nat",
            "-A POSTROUTING -j A\n-A A -j DNAT --to-destination 1.1.1.1\n",
            "used from hooks POSTROUTING",
        ),
        ("filter", "-A INPUT -m tcp --dport 1\n", "the rule needs -p tcp"),
        ("filter", "-A INPUT ! -p tcp -m tcp --dport 1\n", "the rule needs -p tcp"),
        ("filter", "-A INPUT -p tcp -m udp\n", "the rule needs -p udp"),
    ],
)
def test_places_that_the_kernel_refuses(table, body, message):
    with pytest.raises(RulesetError, match=message) as caught:
        load(body, table)
    last = body.splitlines()[-1]
    assert caught.value.line == 4 + body.count("\n")
    assert caught.value.context == last
    name = caught.value.message.partition(":")[0]
    assert last[caught.value.column - 1 :].startswith(name)


def test_a_chain_that_nothing_reaches_has_no_hooks():
    assert load("-A A -j DNAT --to-destination 1.1.1.1\n", "nat")


@pytest.mark.parametrize(
    "table, body",
    [
        ("filter", "-A INPUT -j A\n-A A -j ACCEPT\n-A A -j A\n"),
        ("nat", "-A POSTROUTING -j RETURN\n-A POSTROUTING -j DNAT --to-destination 1.1.1.1\n"),
    ],
)
def test_nothing_is_reached_behind_an_unconditional_verdict(table, body):
    assert load(body, table)


@pytest.mark.parametrize(
    "table, body",
    [
        ("filter", "-A INPUT -j A\n-A A -p tcp -j ACCEPT\n-A A -j A\n"),
        ("nat", "-A POSTROUTING -o + -j RETURN\n-A POSTROUTING -j DNAT --to-destination 1.1.1.1\n"),
        ("nat", "-A POSTROUTING -g A\n-A POSTROUTING -j DNAT --to-destination 1.1.1.1\n"),
        (
            "nat",
            "-A POSTROUTING -j A\n-A A -j ACCEPT\n"
            "-A POSTROUTING -j DNAT --to-destination 1.1.1.1\n",
        ),
    ],
)
def test_conditions_jumps_and_gotos_end_no_chain(table, body):
    with pytest.raises(RulesetError):
        load(body, table)
