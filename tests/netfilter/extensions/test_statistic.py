"""xt_statistic: chance and counting."""

from __future__ import annotations

import pytest

from netemu.entropy import Entropy
from netemu.errors import RulesetError
from netemu.events import ChanceDrawn
from netemu.net import Net
from tests.netfilter.extensions.packets import described, match, packet, param, rule


def hits(words, count, net=None):
    """Say for each of `count` packets whether it matches."""
    net = net or Net()
    bound = match(f"-m statistic {words}", net)
    skb = packet(b"", 17)
    told = param(skb, net)
    return [bound.evaluate(bound.settings, skb, told) for _ in range(count)]


@pytest.mark.parametrize(
    "words, expected",
    [
        ("--mode nth --every 3 --packet 0", "x..x..x."),
        ("--mode nth --every 3 --packet 1", ".x..x..x"),
        ("--mode nth --every 3 --packet 2", "..x..x.."),
        ("--mode nth ! --every 3 --packet 0", ".xx.xx.x"),
        ("--mode nth --every 1 --packet 0", "xxxxxxxx"),
    ],
)
def test_every_nth_packet(words, expected):
    """The packet numbered --packet is the first that matches."""
    assert "".join("x" if hit else "." for hit in hits(words, 8)) == expected


def test_random_draws_compare_31_bits():
    net = Net(entropy=Entropy(7))
    draws = Entropy(7).stream("statistic")
    expected = [draws.u32() & 0x7FFFFFFF < 715827883 for _ in range(200)]
    assert hits("--mode random --probability 0.33333333349", 200, net) == expected


def test_certain_and_impossible_chances():
    assert all(hits("--mode random --probability 1", 50))
    assert not any(hits("--mode random --probability 0", 50))
    assert not any(hits("--mode random ! --probability 1", 50))


def test_a_draw_is_told():
    net = Net()
    told = []
    net.sink = lambda stamp, event: told.append(event)
    (hit,) = hits("--mode random --probability 0.5", 1, net)
    (event,) = told
    assert isinstance(event, ChanceDrawn)
    assert (event.match, event.threshold, event.matched) == ("statistic", 1 << 30, hit)
    assert hit == (event.value < event.threshold)


def test_rules_count_for_themselves():
    """Equal rules have counters of their own."""
    net = Net()
    first = match("-m statistic --mode nth --every 2 --packet 0", net)
    second = match("-m statistic --mode nth --every 2 --packet 0", net)
    skb = packet(b"", 17)
    told = param(skb, net)
    assert first.evaluate(first.settings, skb, told)
    assert second.evaluate(second.settings, skb, told)
    assert not first.evaluate(first.settings, skb, told)


def test_loading_a_table_again_starts_the_count_anew():
    net = Net()
    bound = match("-m statistic --mode nth --every 3 --packet 0", net)
    skb = packet(b"", 17)
    told = param(skb, net)
    assert bound.evaluate(bound.settings, skb, told)
    assert not bound.evaluate(bound.settings, skb, told)
    assert bound.attach is not None
    bound.attach(net, bound.settings)
    assert bound.evaluate(bound.settings, skb, told)


@pytest.mark.parametrize(
    "words, message",
    [
        ("--mode random", "--probability must be specified"),
        ("--mode nth --packet 1", "the --packet p must be 0 <= p <= n-1"),
        ("--mode nth --every 3 --packet 3", "the --packet p must be 0 <= p <= n-1"),
        ("--mode nth --every 3", 'option "--every" also requires "--packet"'),
        ("--mode nth", "must be specified when using nth mode"),
        ("--mode foo --probability 1", 'bad value "foo"'),
        ("--probability 1", 'option "--mode" must be specified'),
    ],
)
def test_what_iptables_refuses(words, message):
    with pytest.raises(RulesetError, match=message):
        rule(f"-m statistic {words}")


def test_what_a_trace_says():
    skb = packet(b"", 17)
    assert described("-m statistic --mode nth --every 3 --packet 0", skb) == "count 2 of 3"
    assert described("-m statistic --mode random --probability 0.5", skb) == "random draw"
