"""Copies of packets; what they look like is compared with Linux in tests/kernel."""

from __future__ import annotations

import pytest

from netemu.errors import RulesetError
from netemu.net import Net
from netemu.netfilter.extensions.tee import Duplicating
from tests.netfilter.extensions.packets import rule
from tests.netfilter.extensions.targets import apply, udp


def test_without_a_route_nothing_happens():
    skb = udp()
    before = bytes(skb.data)
    assert apply("-j TEE --gateway 10.0.0.9", skb) is None
    assert bytes(skb.data) == before


def test_a_copy_is_not_copied():
    net = Net()
    net.generic(Duplicating).active = True
    assert apply("-j TEE --gateway 10.0.0.9", udp(), net=net) is None


def test_a_gateway_must_be_an_address():
    with pytest.raises(RulesetError):
        rule("-j TEE --gateway 0.0.0.0", table="mangle")
