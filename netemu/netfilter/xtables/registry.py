"""The extensions that a ruleset may name, found by name.

Kernel: net/netfilter/x_tables.c (xt_register_match, xt_find_match).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import ModuleType

from netemu.netfilter.xtables.kit import AnyMatch, AnyTarget


@dataclass(frozen=True, slots=True)
class Registry:
    """Matches and targets by name."""

    matches: Mapping[str, AnyMatch] = field(default_factory=dict)
    targets: Mapping[str, AnyTarget] = field(default_factory=dict)

    @classmethod
    def of(cls, modules: Iterable[ModuleType]) -> Registry:
        """Collect `MATCHES` and `TARGETS` of extension files; a double name is a mistake."""
        matches: dict[str, AnyMatch] = {}
        targets: dict[str, AnyTarget] = {}
        for module in modules:
            for match in getattr(module, "MATCHES", ()):
                assert match.name not in matches, match.name
                matches[match.name] = match
            for target in getattr(module, "TARGETS", ()):
                assert target.name not in targets, target.name
                targets[target.name] = target
        return cls(matches, targets)
