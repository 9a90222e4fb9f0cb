"""Which rules run: the longer selector wins, and what is not on by default wants its whole code."""

from __future__ import annotations

import pytest

from netemu.errors import UsageError
from netemu.lint.settings import LintSettings


def runs(code: str, **settings: object) -> bool:
    chosen = LintSettings(**settings).selected("dir/x.rules")  # type: ignore[arg-type]
    return code in {rule.code for rule in chosen}


@pytest.mark.parametrize(
    "settings, expected",
    [
        ({}, True),
        ({"ignore": ("NE012",)}, False),
        ({"ignore": ("NE0",)}, False),
        ({"ignore": ("ALL",)}, False),
        ({"ignore": ("misplaced-extension",)}, False),
        ({"select": ("NE9",)}, False),
        ({"select": ("NE012",)}, True),
        ({"select": ("misplaced-extension",)}, True),
        ({"select": ("NE012",), "ignore": ("NE0",)}, True),
        ({"select": ("NE0",), "ignore": ("NE012",)}, False),
        ({"select": ("NE0",), "ignore": ("NE0",)}, False),
        ({"select": ("NE9",), "extend_select": ("NE01",)}, True),
        ({"per_file_ignores": {"x.*": ("NE012",)}}, False),
        ({"per_file_ignores": {"dir/*": ("NE012",)}}, False),
        ({"per_file_ignores": {"y.*": ("NE012",)}}, True),
    ],
)
def test_selection(settings: dict[str, object], expected: bool) -> None:
    assert runs("NE012", **settings) is expected


@pytest.mark.parametrize(
    "settings, expected",
    [
        ({}, False),
        ({"select": ("NE9",)}, False),
        ({"extend_select": ("NE902",)}, True),
        ({"select": ("ALL",)}, True),
        ({"require_reason": True}, True),
        ({"require_reason": True, "ignore": ("NE9",)}, True),
    ],
)
def test_a_rule_that_is_off_by_default(settings: dict[str, object], expected: bool) -> None:
    assert runs("NE902", **settings) is expected


@pytest.mark.parametrize("selector", ["NE998", "ne012", "E101", "", "nothing-such"])
def test_selectors_that_mean_nothing_are_refused(selector: str) -> None:
    with pytest.raises(UsageError, match="is no lint rule"):
        LintSettings(ignore=(selector,))
