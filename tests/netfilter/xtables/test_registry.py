"""Extensions by name and family."""

from __future__ import annotations

from types import ModuleType

import pytest

from netemu.netfilter.hook import Family
from netemu.netfilter.xtables.kit import Match, Target, nothing
from netemu.netfilter.xtables.registry import Registry


def match(name: str, *families: Family) -> Match[None]:
    return Match(
        name=name,
        kernel="x.c",
        families=families,
        build=nothing,
        evaluate=lambda info, skb, param: True,
    )


def test_one_name_may_mean_two_extensions():
    four, six = match("hl", Family.IPV4), match("hl", Family.IPV6)
    registry = Registry([four, six])
    assert registry.find_match("hl", Family.IPV4) is four
    assert registry.find_match("hl", Family.IPV6) is six
    assert registry.find_match("nosuch") is None


def test_a_double_name_is_a_mistake():
    with pytest.raises(AssertionError, match="hl"):
        Registry([match("hl", Family.IPV4), match("hl", Family.IPV4)])


def test_icmp6_has_other_names():
    registry = Registry([match("icmp6", Family.IPV6)])
    assert registry.find_match("icmpv6", Family.IPV6) is registry.find_match(
        "ipv6-icmp", Family.IPV6
    )


def test_modules_list_matches_targets_or_both():
    module = ModuleType("xt_example")
    module.TARGETS = (  # type: ignore[attr-defined]
        Target(name="DO", kernel="x.c", build=nothing, apply=lambda info, skb, param: None),
    )
    registry = Registry.of([module])
    assert (registry.match_names(Family.IPV4), registry.target_names(Family.IPV6)) == ("", "DO")
    assert registry.find_target("DO") is module.TARGETS[0]
