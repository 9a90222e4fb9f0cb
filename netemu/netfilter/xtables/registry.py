"""The extensions that a ruleset may name, found by name and address family.

Kernel: net/netfilter/x_tables.c (xt_register_match, xt_find_match, xt_request_find_match).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import ModuleType

from netemu.netfilter.hook import Family
from netemu.netfilter.xtables.kit import AnyMatch, AnyTarget

_OTHER_NAMES = {"icmpv6": "icmp6", "ipv6-icmp": "icmp6"}
"""Names that libxtables turns into another one before it looks (xtables_find_match)."""


class Registry:
    """Matches and targets; a name may stand for another extension in the other family.

    A file is loaded when one of its names is first looked for, as the kernel requests a module.
    """

    __slots__ = ("_files", "_load", "_loaded", "_matches", "_naming", "_targets")

    def __init__(self, files: Mapping[str, str], load: Callable[[str], ModuleType]) -> None:
        """Know which `files` declare which names, separated by blanks; `load` returns one."""
        self._files = files
        self._load = load
        self._naming: dict[str, list[str]] = {}
        """Files by the names that they declare."""
        for file, names in files.items():
            for name in names.split():
                self._naming.setdefault(name, []).append(file)
        self._loaded: dict[str, ModuleType] = {}
        self._matches: dict[tuple[str, Family], AnyMatch] = {}
        self._targets: dict[tuple[str, Family], AnyTarget] = {}

    @property
    def modules(self) -> tuple[ModuleType, ...]:
        """Every extension file."""
        return tuple(self._module(file) for file in self._files)

    @property
    def matches(self) -> tuple[AnyMatch, ...]:
        """Every match."""
        return tuple(match for module in self.modules for match in _matches_of(module))

    @property
    def targets(self) -> tuple[AnyTarget, ...]:
        """Every target."""
        return tuple(target for module in self.modules for target in _targets_of(module))

    def find_match(self, name: str, family: Family = Family.IPV4) -> AnyMatch | None:
        """Return the match of this name (xt_find_match)."""
        name = _OTHER_NAMES.get(name, name)
        self._request(name)
        return self._matches.get((name, family))

    def find_target(self, name: str, family: Family = Family.IPV4) -> AnyTarget | None:
        """Return the target of this name (xt_find_target)."""
        self._request(name)
        return self._targets.get((name, family))

    def match_names(self, family: Family) -> str:
        """List the matches of a family, for messages."""
        return " ".join(sorted(match.name for match in self.matches if family in match.families))

    def target_names(self, family: Family) -> str:
        """List the targets of a family, for messages."""
        return " ".join(sorted(one.name for one in self.targets if family in one.families))

    def _request(self, name: str) -> None:
        """Load the files that declare a name (request_module)."""
        for file in self._naming.get(name, ()):
            self._module(file)

    def _module(self, file: str) -> ModuleType:
        """Load a file once; two extensions of one name in one family are a mistake."""
        module = self._loaded.get(file)
        if module is not None:
            return module
        module = self._loaded[file] = self._load(file)
        for match in _matches_of(module):
            for family in match.families:
                assert (match.name, family) not in self._matches, match.name
                self._matches[match.name, family] = match
        for target in _targets_of(module):
            for family in target.families:
                assert (target.name, family) not in self._targets, target.name
                self._targets[target.name, family] = target
        return module


def _matches_of(module: ModuleType) -> tuple[AnyMatch, ...]:
    found: tuple[AnyMatch, ...] = getattr(module, "MATCHES", ())
    return found


def _targets_of(module: ModuleType) -> tuple[AnyTarget, ...]:
    found: tuple[AnyTarget, ...] = getattr(module, "TARGETS", ())
    return found
