"""Printed text reads back to itself, and rules do not depend on the rules before them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netemu.errors import RulesetError
from netemu.ruleset import parse_ruleset, print_ruleset
from tests.kernel.rule_generator import generate, generate_mixed

TEXTS = [*generate(1500, seed=1), *generate_mixed(500, seed=1)]

PRINTED_BUT_REFUSED = re.compile(r"--seconds -|--log-level 8|--timeout ")
"""What iptables-save itself prints in a way that iptables-restore refuses."""


def printed(text: str) -> str | None:
    """Return what a text prints, None when it is refused."""
    try:
        return print_ruleset(parse_ruleset(text))
    except RulesetError:
        return None


def test_printed_text_is_a_fixpoint():
    accepted = [result for text in TEXTS if (result := printed(text)) is not None]
    assert len(accepted) > len(TEXTS) // 4
    for result in accepted:
        if not PRINTED_BUT_REFUSED.search(result):
            assert printed(result) == result


def rule_of(text: str) -> tuple[str, str]:
    """Return table and rule line of a generated text."""
    lines = text.split("\n")
    return lines[0], lines[2]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(TEXTS), min_size=2, max_size=6))
def test_a_rule_means_the_same_behind_others(texts):
    """The shape cache changes nothing: together means one after the other."""
    table = rule_of(texts[0])[0]
    lines = [line for name, line in map(rule_of, texts) if name == table]
    lines = [line for line in lines if printed(f"{table}\n:FOO - [0:0]\n{line}\nCOMMIT\n")]
    alone: list[str] = []
    for line in lines * 2:
        result = printed(f"{table}\n:FOO - [0:0]\n{line}\nCOMMIT\n")
        assert result is not None
        alone += [row for row in result.split("\n") if row.startswith("[")]
    together = printed("\n".join([table, ":FOO - [0:0]", *lines * 2, "COMMIT", ""]))
    if together is None:
        pytest.skip("the rules make a loop together")
    rows = [row for row in together.split("\n") if row.startswith("[")]
    assert sorted(rows) == sorted(alone)
