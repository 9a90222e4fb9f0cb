"""REJECT of ip6tables drops."""

from __future__ import annotations

from netemu.net import Net
from netemu.netfilter.hook import Family, Verdict
from netemu.ruleset import parse_ruleset
from tests.netfilter.extensions.targets import param, udp


def test_drop():
    text = "*filter\n-A INPUT -j REJECT --reject-with no-route\nCOMMIT\n"
    target = parse_ruleset(text, family=Family.IPV6).tables[0].chains["INPUT"].rules[0].target
    assert target is not None
    skb = udp()
    assert target.apply(target.settings, skb, param(skb, Net())) == Verdict.DROP
    assert skb.fate.reject_type == "icmp6-no-route"
