"""The extensions that a ruleset may name, found by name and address family.

Kernel: net/netfilter/x_tables.c (xt_register_match, xt_find_match).
"""

from __future__ import annotations

from collections.abc import Iterable
from types import ModuleType

from netemu.netfilter.hook import Family
from netemu.netfilter.xtables.kit import AnyMatch, AnyTarget

_OTHER_NAMES = {"icmpv6": "icmp6", "ipv6-icmp": "icmp6"}
"""Names that libxtables turns into another one before it looks (xtables_find_match)."""


class Registry:
    """Matches and targets; a name may stand for another extension in the other family."""

    __slots__ = ("_matches", "_targets", "matches", "targets")

    def __init__(self, matches: Iterable[AnyMatch] = (), targets: Iterable[AnyTarget] = ()) -> None:
        """Index the extensions; two of one name in one family are a mistake."""
        self.matches = tuple(matches)
        self.targets = tuple(targets)
        self._matches: dict[tuple[str, Family], AnyMatch] = {}
        self._targets: dict[tuple[str, Family], AnyTarget] = {}
        for match in self.matches:
            for family in match.families:
                assert (match.name, family) not in self._matches, match.name
                self._matches[match.name, family] = match
        for target in self.targets:
            for family in target.families:
                assert (target.name, family) not in self._targets, target.name
                self._targets[target.name, family] = target

    @classmethod
    def of(cls, modules: Iterable[ModuleType]) -> Registry:
        """Collect `MATCHES` and `TARGETS` of extension files."""
        listed = tuple(modules)
        return cls(
            [match for module in listed for match in getattr(module, "MATCHES", ())],
            [target for module in listed for target in getattr(module, "TARGETS", ())],
        )

    def find_match(self, name: str, family: Family = Family.IPV4) -> AnyMatch | None:
        """Return the match of this name (xt_find_match)."""
        return self._matches.get((_OTHER_NAMES.get(name, name), family))

    def find_target(self, name: str, family: Family = Family.IPV4) -> AnyTarget | None:
        """Return the target of this name (xt_find_target)."""
        return self._targets.get((name, family))

    def match_names(self, family: Family) -> str:
        """List the matches of a family, for messages."""
        return " ".join(sorted(name for name, of in self._matches if of == family))

    def target_names(self, family: Family) -> str:
        """List the targets of a family, for messages."""
        return " ".join(sorted(name for name, of in self._targets if of == family))
