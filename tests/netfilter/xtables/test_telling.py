"""What the walk with events tells; that it decides as the plain one is tested with table.py."""

from __future__ import annotations

from netemu.events import ChainEntered, ChainReturned, RuleVisited, VerdictIssued
from netemu.netfilter.xtables.model import Invert
from tests.netfilter.xtables.walks import (
    Run,
    filter_table,
    match,
    network,
    packet,
    rule,
)


def test_telling_names_the_first_part_that_failed_and_what_it_saw() -> None:
    cases = [
        (rule("DROP", **network("10.9.0.0/16")), ("-s 10.9.0.0/16", "10.0.0.1")),
        (rule("DROP", in_device="eth9"), ("-i eth9", "eth0")),
        (rule("DROP", out_device="eth1", invert=Invert.VIA_OUT), ("! -o eth1", "eth1")),
        (rule("DROP", protocol=6), ("-p tcp", "udp")),
        (rule("DROP", fragment=True), ("-f", "fragment offset 0")),
        (rule("DROP", matches=(match(False, describe=lambda *_: "seen"),)), ("-m fixed", "seen")),
    ]
    for own, expected in cases:
        walk = Run(filter_table(own), telling=True)
        walk(packet())
        (event,) = [event for event in walk.events if isinstance(event, RuleVisited)]
        assert (event.failed_on, event.value) == expected
        assert not event.matched


def test_telling_follows_the_walk() -> None:
    table = filter_table(rule("A"), A=[rule("B", goto=True)], B=[])
    walk = Run(table, telling=True)
    walk(packet())
    told = [
        (type(event).__name__, event.chain, getattr(event, "by", getattr(event, "to", "")))
        for event in walk.events
        if isinstance(event, ChainEntered | ChainReturned | VerdictIssued)
    ]
    assert told == [
        ("ChainEntered", "FORWARD", "hook"),
        ("ChainEntered", "A", "jump"),
        ("ChainEntered", "B", "goto"),
        ("ChainReturned", "B", "FORWARD"),
        ("VerdictIssued", "FORWARD", ""),
    ]
    verdict = walk.events[-1]
    assert isinstance(verdict, VerdictIssued)
    assert (verdict.verdict, verdict.policy, verdict.rule, verdict.line) == ("ACCEPT", True, 2, 9)
