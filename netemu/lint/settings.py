"""What is wanted of a lint run: which rules, which level fails it, what suppressions must say.

Kernel: none.

A selector is a code (`NE101`), the beginning of one (`NE1`), a rule's name or `ALL`. Where
`select` and `ignore` both fit, the longer one wins, and `ignore` among equals. A rule that is not
selected by default is not meant by the beginning of its code: it wants all of it, or `ALL`.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping

from msgspec import Struct, field

from netemu.errors import UsageError
from netemu.lint.codes import BY_CODE, RULES
from netemu.lint.finding import Level
from netemu.lint.rule import LintRule
from netemu.lint.selector import ALL, fits, means_any

_NAMES = frozenset(rule.name for rule in RULES)


class LintSettings(Struct, frozen=True, kw_only=True):
    """The options of a run."""

    select: tuple[str, ...] = ()
    """Empty: every rule that is selected by default."""
    extend_select: tuple[str, ...] = ()
    """Selected besides those."""
    ignore: tuple[str, ...] = ()
    per_file_ignores: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Pattern of file names -> selectors."""
    fail_on: Level = Level.WARNING
    require_reason: bool = False
    """A suppression must say why."""
    owned_chains: bool = False
    """Tell stylistic findings inside chains that a program owns, too."""

    def __post_init__(self) -> None:
        """Refuse selectors that mean no rule."""
        for selector in (*self.select, *self.extend_select, *self.ignore):
            check_selector(selector)
        for selectors in self.per_file_ignores.values():
            for selector in selectors:
                check_selector(selector)

    def selected(self, file: str) -> list[LintRule]:
        """Return the rules that a file is looked at with."""
        ignore = [*self.ignore]
        for pattern, selectors in self.per_file_ignores.items():
            if fnmatch.fnmatch(file, pattern) or fnmatch.fnmatch(file.rpartition("/")[2], pattern):
                ignore += selectors
        return [rule for rule in RULES if self._wants(rule, ignore)]

    def _wants(self, rule: LintRule, ignore: Iterable[str]) -> bool:
        wanted = _weight(rule, (*self.select, *self.extend_select))
        if not self.select and rule.default:
            wanted = max(wanted, 1)
        if rule.asked_by and getattr(self, rule.asked_by):
            wanted = len(rule.code)
        unwanted = max((_fits(rule, selector) for selector in ignore), default=0)
        return wanted > unwanted


def _weight(rule: LintRule, selectors: Iterable[str]) -> int:
    """Return the length of the selector that fits best, of those that may select the rule."""
    return max(
        (
            weight
            for selector in selectors
            if (weight := _fits(rule, selector))
            and (rule.default or selector in {ALL, rule.code, rule.name})
        ),
        default=0,
    )


def _fits(rule: LintRule, selector: str) -> int:
    return len(rule.code) if selector == rule.name else fits(rule.code, selector)


def check_selector(selector: str) -> None:
    """Raise UsageError for a selector that means no rule."""
    if selector not in _NAMES and not means_any(selector, BY_CODE):
        raise UsageError(
            f"{selector!r} is no lint rule; a code such as NE101, its beginning, a rule's name or "
            "ALL would do (`netemu lint --rules` lists them)"
        )


def level_of(word: str) -> Level:
    """Return a level by its word; raises UsageError."""
    try:
        return Level[word.upper()]
    except KeyError:
        raise UsageError(
            f"{word!r} is no level; it takes {', '.join(level.word for level in reversed(Level))}"
        ) from None
