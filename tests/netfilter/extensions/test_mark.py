"""xt_mark: the match, and what the target makes of a mark."""

from __future__ import annotations

import pytest

from netemu.errors import RulesetError
from netemu.events import MarkChanged
from netemu.net import Net
from tests.netfilter.extensions.packets import answer, described, packet, param, rule


def marked(mark):
    skb = packet(b"", 17)
    skb.mark = mark
    return skb


@pytest.mark.parametrize(
    "words, mark, expected",
    [
        ("--mark 5", 5, "yes"),
        ("--mark 5", 0x105, "no"),
        ("--mark 5/0xff", 0x105, "yes"),
        ("! --mark 5/0xff", 0x105, "no"),
        ("--mark 0x10/0xf", 0x10, "no"),
        ("--mark 0/0", 99, "yes"),
    ],
)
def test_the_mark_under_a_mask(words, mark, expected):
    """A value with bits outside its mask can never match."""
    assert answer(f"-m mark {words}", marked(mark)) == expected


@pytest.mark.parametrize(
    "words, printed, after",
    [
        ("--set-mark 0x5", "0x5/0xffffffff", 0x5),
        ("--set-mark 0x5/0xf0", "0x5/0xf5", 0xFF0F),
        ("--set-xmark 0x5/0xf0", "0x5/0xf0", 0xFF0A),
        ("--and-mark 0xf0", "0x0/0xffffff0f", 0xF0),
        ("--or-mark 0x10000", "0x10000/0x10000", 0x1FFFF),
        ("--xor-mark 0x1", "0x1/0x0", 0xFFFE),
    ],
)
def test_every_spelling_is_a_mask_and_an_exclusive_or(words, printed, after):
    found = rule(f"-j MARK {words}", table="mangle")
    assert found.text == f"-j MARK --set-xmark {printed}"
    target = found.target
    assert target is not None
    skb = marked(0xFFFF)
    assert target.apply(target.settings, skb, param(skb)) is None
    assert skb.mark == after


def test_a_change_is_told_once():
    net = Net()
    told = []
    net.sink = lambda stamp, event: told.append(event)
    target = rule("-j MARK --set-mark 7").target
    assert target is not None
    skb = marked(1)
    for _ in range(2):
        target.apply(target.settings, skb, param(skb, net))
    assert told == [MarkChanged(what="mark", before=1, after=7)]


@pytest.mark.parametrize(
    "words, message",
    [
        ("-j MARK", "One of the --set-xmark"),
        ("-j MARK --set-mark 1 --or-mark 2", 'cannot be used together with "--'),
        ("-j MARK ! --set-mark 1", 'option "--set-mark" cannot be inverted'),
        ("-m mark", 'mark: option "--mark" must be specified'),
    ],
)
def test_what_iptables_refuses(words, message):
    with pytest.raises(RulesetError, match=message):
        rule(words)


def test_what_a_trace_says():
    assert described("-m mark --mark 1", marked(0x4000)) == "mark 0x4000"
