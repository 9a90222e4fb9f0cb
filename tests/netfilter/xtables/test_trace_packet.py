"""Which rule TRACE names, and as what."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from netemu.netfilter.xtables.model import Rule, Table
from tests.netfilter.xtables.walks import (
    Run,
    filter_table,
    match,
    packet,
    rule,
)


@pytest.fixture(params=[False, True], ids=["plain", "telling"])
def run(request: pytest.FixtureRequest) -> Callable[[Table], Run]:
    return lambda table, **more: Run(table, telling=request.param, **more)


def trace_lines(walk: Run) -> list[str]:
    return [line.split(" ")[1] for line in walk.net.log]


def test_trace_names_rule_return_and_policy(run) -> None:
    """Unconditional standard verdicts are told as the chain's tail, as Linux 6.18 does."""
    table = filter_table(
        rule("A"),
        rule("B", in_device="+"),
        A=[rule(), rule("RETURN", protocol=17)],
        B=[rule("RETURN")],
    )
    walk = run(table)
    skb = packet()
    skb.nf_trace = True
    walk(skb)
    assert trace_lines(walk) == [
        "filter:FORWARD:rule:1",
        "filter:A:rule:1",
        "filter:A:rule:2",
        "filter:FORWARD:rule:2",
        "filter:B:return:1",
        "filter:FORWARD:policy:3",
    ]


@pytest.mark.parametrize(
    "own, word",
    [
        (rule("ACCEPT"), "policy"),
        (rule("ACCEPT", in_device="+"), "rule"),
        (rule("ACCEPT", matches=(match(True),)), "rule"),
        (rule("ACCEPT", source=bytes(4), source_mask=bytes(4)), "policy"),
        (rule("ACCEPT", protocol=17), "rule"),
    ],
)
def test_trace_word_of_an_accept_in_a_builtin_chain(run, own: Rule, word: str) -> None:
    """A bare `+` keeps its name in struct ipt_ip, so the rule is not unconditional."""
    walk = run(filter_table(Rule(own.generic, own.matches, own.target)))
    skb = packet()
    skb.nf_trace = True
    walk(skb)
    assert trace_lines(walk) == [f"filter:FORWARD:{word}:1"]


def test_trace_says_nothing_without_a_logger(run) -> None:
    walk = run(filter_table())
    walk.net.sysctl.set("net.netfilter.nf_log.2", "nfnetlink_log")
    skb = packet()
    skb.nf_trace = True
    walk(skb)
    assert walk.net.log == []
