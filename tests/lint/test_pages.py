"""Every rule has a page with all its sections, whose Example it catches and whose cure it does not."""

from __future__ import annotations

import re

import pytest

from netemu.lint.codes import MODULES, RULES
from netemu.lint.page import SECTIONS, example_of, find_rule, page_lines, sections_of
from netemu.lint.rule import LintRule, Needs
from tests.lint.cases import findings_of

MORE = {Needs.NODE, Needs.OBJECTS, Needs.PARTNER}
WITH_FILES = [rule for rule in RULES if rule.needs not in MORE]


def ids(rule: LintRule) -> str:
    return rule.code


def test_codes_and_names_are_told_once_and_in_order() -> None:
    codes = [rule.code for rule in RULES]
    assert codes == sorted(set(codes))
    assert len({rule.name for rule in RULES}) == len(RULES)
    for module, rule in zip(MODULES, RULES, strict=True):
        told = f"{rule.code.lower()}_{rule.name.replace('-', '_')}"
        assert module.__name__ == f"netemu.lint.rules.{told}"


@pytest.mark.parametrize("rule", RULES, ids=ids)
def test_every_section_is_there(rule: LintRule) -> None:
    assert tuple(sections_of(rule)) == SECTIONS
    assert re.fullmatch(r"NE[0-9]{3}", rule.code)
    assert not rule.summary.endswith(".")
    assert any(rule.summary in line for line in page_lines(rule))


@pytest.mark.parametrize("rule", WITH_FILES, ids=ids)
def test_the_example_trips_it(rule: LintRule) -> None:
    assert rule.code in [one.code for one in findings_of(example_of(rule))]


@pytest.mark.parametrize("rule", WITH_FILES, ids=ids)
def test_what_to_use_instead_does_not(rule: LintRule) -> None:
    text = example_of(rule, "Use instead")
    if text:
        found = [one.code for one in findings_of(text)]
        assert rule.code not in found
        assert not [code for code in found if code < "NE1"]


def test_rules_are_found_by_code_and_name() -> None:
    assert find_rule("ne008") is find_rule("missing-target") is not None
    assert find_rule("NE999") is None
