"""Extensions by name and family."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType

import pytest

from netemu.netfilter.hook import Family
from netemu.netfilter.xtables.kit import AnyMatch, AnyTarget, Match, Target, nothing
from netemu.netfilter.xtables.registry import Registry


def match(name: str, *families: Family) -> AnyMatch:
    return Match(
        name=name,
        kernel="x.c",
        families=families,
        build=nothing,
        evaluate=lambda info, skb, param: True,
    )


def target(name: str) -> AnyTarget:
    return Target(name=name, kernel="x.c", build=nothing, apply=lambda info, skb, param: None)


class Files:
    """Extension files that note when they are loaded."""

    def __init__(self, declared: Mapping[str, tuple[AnyMatch | AnyTarget, ...]]) -> None:
        self._declared = declared
        self.loaded: list[str] = []

    def load(self, file: str) -> ModuleType:
        self.loaded.append(file)
        module = ModuleType(file)
        declared = self._declared[file]
        matches = tuple(one for one in declared if isinstance(one, Match))
        targets = tuple(one for one in declared if isinstance(one, Target))
        if matches:
            module.MATCHES = matches  # type: ignore[attr-defined]
        if targets:
            module.TARGETS = targets  # type: ignore[attr-defined]
        return module

    def registry(self) -> Registry:
        names = {
            file: " ".join(one.name for one in declared)
            for file, declared in self._declared.items()
        }
        return Registry(names, self.load)


def test_one_name_may_mean_two_extensions():
    four, six = match("hl", Family.IPV4), match("hl", Family.IPV6)
    registry = Files({"hl": (four,), "hl6": (six,)}).registry()
    assert registry.find_match("hl", Family.IPV4) is four
    assert registry.find_match("hl", Family.IPV6) is six
    assert registry.find_match("nosuch") is None


def test_a_double_name_is_a_mistake():
    first, second = match("hl", Family.IPV4), match("hl", Family.IPV4)
    registry = Files({"hl": (first,), "other": (second,)}).registry()
    with pytest.raises(AssertionError, match="hl"):
        registry.find_match("hl")


def test_icmp6_has_other_names():
    registry = Files({"icmp6": (match("icmp6", Family.IPV6),)}).registry()
    assert registry.find_match("icmpv6", Family.IPV6) is registry.find_match(
        "ipv6-icmp", Family.IPV6
    )


def test_files_declare_matches_targets_or_both():
    do, mark = target("DO"), (match("mark", Family.IPV4), target("MARK"))
    registry = Files({"do": (do,), "mark": mark}).registry()
    assert (registry.match_names(Family.IPV4), registry.target_names(Family.IPV6)) == (
        "mark",
        "DO MARK",
    )
    assert registry.find_target("DO") is do
    assert (registry.matches, registry.targets) == ((mark[0],), (do, mark[1]))


def test_a_file_is_loaded_once_and_when_one_of_its_names_is_looked_for():
    files = Files({"do": (target("DO"),), "mark": (match("mark", Family.IPV4), target("MARK"))})
    registry = files.registry()
    assert registry.find_target("KUBE-SERVICES") is None
    assert files.loaded == []
    for _ in range(2):
        registry.find_target("MARK")
        registry.find_match("mark")
    assert files.loaded == ["mark"]
    assert len(registry.modules) == 2
    assert files.loaded == ["mark", "do"]
