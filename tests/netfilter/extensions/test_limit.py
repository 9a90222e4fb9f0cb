"""xt_limit: the token bucket in whole numbers (figures of a kernel with HZ 250)."""

from __future__ import annotations

import pytest

from netemu.clock import NSEC_PER_SEC
from netemu.errors import RulesetError
from netemu.net import Net
from netemu.netfilter.extensions.limit import user2credits
from tests.netfilter.extensions.packets import described, match, packet, param, rule


class Bucket:
    """A rule at work."""

    def __init__(self, words):
        self.net = Net()
        self.bound = match(f"-m limit {words}", self.net)
        self.skb = packet(b"", 17)
        self.told = param(self.skb, self.net)

    def hits(self, count):
        return sum(
            self.bound.evaluate(self.bound.settings, self.skb, self.told) for _ in range(count)
        )

    def wait(self, seconds):
        self.net.clock.run_until(self.net.clock.now_ns + int(seconds * NSEC_PER_SEC))


def test_a_burst_then_the_rate():
    bucket = Bucket("--limit 1/s --limit-burst 3")
    assert bucket.hits(10) == 3
    bucket.wait(0.9)
    assert bucket.hits(10) == 0
    bucket.wait(0.1)
    assert bucket.hits(10) == 1
    bucket.wait(100)
    assert bucket.hits(10) == 3


def test_the_default_is_three_an_hour_and_a_burst_of_five():
    bucket = Bucket("")
    assert bucket.hits(10) == 5
    bucket.wait(1200)
    assert bucket.hits(10) == 1


def test_credit_is_u32_arithmetic():
    """HZ * CREDITS_PER_JIFFY is 32000; beyond 2**32 / 32000 the division comes first."""
    assert user2credits(10000, 250) == 32000
    assert user2credits(134217, 250) == 429494
    assert user2credits(134218, 250) == 13 * 32000


@pytest.mark.parametrize(
    "rate, printed",
    [
        ("5", "5/sec"),
        ("5/s", "5/sec"),
        ("5/SECOND", "5/sec"),
        ("100/minute", "100/min"),
        ("60/min", "1/sec"),
        ("7/hour", "7/hour"),
        ("24/d", "1/hour"),
        ("5.5/s", "5/sec"),
        ("10000/s", "10000/sec"),
        ("3333/s", "3333/sec"),
    ],
)
def test_rates_print_with_a_unit_that_divides(rate, printed):
    assert rule(f"-m limit --limit {rate}").text == f"-m limit --limit {printed}"


@pytest.mark.parametrize(
    "words, message",
    [
        ("--limit 5/seconds", "bad rate"),
        ("--limit 0/s", "bad rate"),
        ("--limit x", "bad rate"),
        ("--limit 5/", "bad rate"),
        ("--limit 4294967296/s", "bad rate"),
        ("--limit 10001/s", "Rate too fast"),
        ("--limit -1/s", "Rate too fast"),
        ("--limit-burst 10001", "or out of range \\(0-10000\\)"),
        ("--limit-burst 0", "Numerical result out of range"),
        ("--limit 1/day", "Numerical result out of range"),
        ("--limit-burst 10000", "Numerical result out of range"),
        ("! --limit 5/s", "cannot be inverted"),
    ],
)
def test_what_iptables_and_the_kernel_refuse(words, message):
    with pytest.raises(RulesetError, match=message):
        rule(f"-m limit {words}")


def test_a_burst_of_five_is_not_printed():
    assert rule("-m limit --limit-burst 5").text == "-m limit --limit 3/hour"
    assert rule("-m limit --limit-burst 6").text == "-m limit --limit 3/hour --limit-burst 6"


def test_what_a_trace_says():
    assert described("-m limit --limit 1/s", packet(b"", 17)) == "credit 0, a packet costs 0"
    bucket = Bucket("--limit 1/s --limit-burst 2")
    assert bucket.bound.describe is not None
    said = bucket.bound.describe(bucket.bound.settings, bucket.skb, bucket.told)
    assert said == "credit 64000, a packet costs 32000"
