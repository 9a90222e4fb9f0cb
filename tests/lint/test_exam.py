"""Planted defects: every kind is found where it is, and nothing else is."""

from __future__ import annotations

import pytest

from tests.lint.exam import Mutant, clean, mutants, sit
from tests.lint.mutations import MUTATIONS

CASES = list(mutants(len(MUTATIONS)))
MUST_SHOW = ("NE1", "NE2", "NE3", "NE7")
"""Families whose findings carry a packet."""


@pytest.mark.parametrize("mutant", CASES, ids=lambda one: f"{one.mutation.name}-{one.seed}")
def test_a_planted_defect_is_found_and_nothing_beside(mutant: Mutant) -> None:
    answer = sit(mutant)
    assert (answer.found, answer.beside) == (True, [])
    if mutant.mutation.codes[0].startswith(MUST_SHOW):
        assert answer.witnessed


@pytest.mark.parametrize("base", sorted({one.base for one in CASES}))
def test_a_clean_rule_set_gets_no_warning(base: str) -> None:
    assert [one for one in clean(base) if one["level"] in {"warning", "error"}] == []
