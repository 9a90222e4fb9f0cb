"""Timers that packets wind up."""

from __future__ import annotations

import pytest

from netemu.errors import RulesetError
from netemu.net import Net
from netemu.netfilter.extensions.idletimer import IdleTimers
from netemu.netfilter.hook import Hook
from tests.netfilter.extensions.packets import rule
from tests.netfilter.extensions.targets import apply, param, udp

RULE = "-j IDLETIMER --timeout 5 --label wan"


def test_packets_wind_the_timer_up():
    net = Net()
    timers = net.generic(IdleTimers)
    target = rule(RULE, table="mangle").target
    assert target is not None
    assert target.attach is not None
    target.attach(net, target.settings)
    net.clock.run_until(net.clock.now_ns + 3 * 10**9)
    assert timers.expires_ms("wan") == 2000
    skb = udp()
    assert target.apply(target.settings, skb, param(skb, net, Hook.INPUT)) is None
    assert timers.expires_ms("wan") == 5000
    net.clock.run_until(net.clock.now_ns + 9 * 10**9)
    assert timers.expires_ms("wan") == 0


def test_rules_of_one_label_agree_about_alarm():
    net = Net()
    apply(RULE, udp(), net=net)
    with pytest.raises(RulesetError, match="--alarm"):
        apply(f"{RULE} --alarm", udp(), net=net)
