"""Estimators and what is compared with them."""

from __future__ import annotations

import pytest

from netemu.errors import RulesetError
from netemu.net import Net
from netemu.netfilter.extensions.rateest import logs_of
from netemu.netfilter.xtables.estimator import Estimator, Estimators
from tests.netfilter.extensions.packets import match
from tests.netfilter.extensions.targets import apply, param, udp

TARGET = "-j RATEEST --rateest-name {} --rateest-interval 250ms --rateest-ewmalog 500ms"
QUARTER_NS = 250_000_000


def counted(net: Net, name: str, packets: int) -> Estimator:
    for _ in range(packets):
        assert apply(TARGET.format(name), udp(), net=net) is None
    return net.generic(Estimators).by_name[name]


def test_averages_as_est_timer_reckons() -> None:
    """Of 20 packets in a quarter of a second half counts at once: weight 1/2 of 80 a second."""
    net = Net()
    estimator = counted(net, "A", 20)
    assert estimator.read() == (0, 0)
    net.clock.run_until(QUARTER_NS)
    assert estimator.read() == (20 * 28 * 4 // 2, 40)
    net.clock.run_until(2 * QUARTER_NS)
    assert estimator.read() == (560, 20)
    net.clock.run_until(40 * QUARTER_NS)
    assert estimator.read() == (0, 0)


def test_idle_time_is_skipped() -> None:
    net = Net()
    estimator = counted(net, "A", 20)
    net.clock.run_until(10**9 * 86400 * 365)
    assert estimator.read() == (0, 0)
    estimator.count(1000)
    net.clock.run_until(net.clock.now_ns + QUARTER_NS)
    assert estimator.read() == (2000, 2)


def holds(net: Net, words: str) -> bool:
    bound = match(f"-m rateest {words}", net)
    skb = udp()
    return bound.evaluate(bound.settings, skb, param(skb, net))


@pytest.mark.parametrize(
    "words, expected",
    [
        ("--rateest A --rateest-eq --rateest-pps 40", True),
        ("--rateest A ! --rateest-eq --rateest-pps 40", False),
        ("--rateest A --rateest-gt --rateest-bps 8960bit", False),
        ("--rateest A --rateest-gt --rateest-bps 8952bit", True),
        ("--rateest A --rateest-lt --rateest-bps 9kbit --rateest-pps 40", False),
        ("--rateest A --rateest-lt --rateest-bps 9kbit --rateest-pps 41", True),
        ("--rateest1 A --rateest-gt --rateest2 B --rateest-pps --rateest-bps", True),
        ("--rateest1 B --rateest-gt --rateest2 A --rateest-pps", False),
        ("--rateest-delta --rateest A --rateest-pps1 50 --rateest-eq --rateest-pps2 10", True),
        ("--rateest-delta --rateest A --rateest-pps1 30 --rateest-eq --rateest-pps2 0", True),
        (
            "--rateest-delta --rateest1 A --rateest-pps1 50 --rateest-lt --rateest-pps2 50 "
            "--rateest2 B",
            True,
        ),
    ],
)
def test_comparison(words: str, expected: bool) -> None:
    net = Net()
    counted(net, "A", 20)
    counted(net, "B", 10)
    net.clock.run_until(QUARTER_NS)
    assert holds(net, words) == expected


def test_estimators_must_be_there_and_agree() -> None:
    net = Net()
    with pytest.raises(RulesetError, match="no estimator `A'"):
        match("-m rateest --rateest A --rateest-eq --rateest-pps 0", net)
    counted(net, "A", 1)
    words = TARGET.format("A").replace("250ms", "1s").replace("500ms", "3s")
    with pytest.raises(RulesetError, match="another interval"):
        apply(words, udp(), net=net)


def test_description() -> None:
    net = Net()
    counted(net, "A", 20)
    net.clock.run_until(QUARTER_NS)
    bound = match("-m rateest --rateest A --rateest-eq --rateest-pps 0", net)
    skb = udp()
    assert bound.describe is not None
    assert bound.describe(bound.settings, skb, param(skb, net)) == "A 8960bit 40pps"


@pytest.mark.parametrize(
    "interval_us, average_us, logs",
    [(250_000, 500_000, (-2, 1)), (1_000_000, 3_000_000, (0, 1)), (8_000_000, 10**9, (3, 6))],
)
def test_logs(interval_us: int, average_us: int, logs: tuple[int, int]) -> None:
    assert logs_of(interval_us, average_us) == logs
