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

PRINTED_BUT_REFUSED = re.compile(
    r"--seconds -|--log-level 8|--timeout |days  |-types \n|--nfacct-name |--genre |-m time( --kerneltz)?( -j \S+)?$|-types  |--selctx |--rateest-name |rateest.*[\x22\\]|--label |--log-prefix $",
    re.MULTILINE,
)
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


@settings(derandomize=True, max_examples=150, deadline=None)
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


JUNK = st.text(st.sampled_from(list('-!"\\ \t:[]*#09xa,/+=\n\r\0é')) | st.characters(), max_size=4)


@settings(derandomize=True, max_examples=300, deadline=None)
@given(st.sampled_from(TEXTS), st.data())
def test_broken_text_is_refused_with_its_place(text, data):
    """Whatever stands in a text, it is read or refused in words; nothing else happens."""
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(start, min(len(text), start + 6)))
        text = text[:start] + data.draw(JUNK) + text[end:]
    refused = None
    try:
        parse_ruleset(text, "file")
    except RulesetError as error:
        refused = error
    if refused is not None:
        assert refused.file == "file"
        assert refused.line > 0
        assert refused.message


def test_numbers_of_any_length_are_refused():
    for words in (
        "-m mark --mark {}",
        "-p tcp --dport {}",
        "-p udp --dport {}",
        "-m limit --limit {}/s",
        "-s 1.2.3.4/{}",
        "-p {}",
    ):
        text = f"*filter\n-A INPUT {words.format('9' * 5000)}\nCOMMIT\n"
        with pytest.raises(RulesetError):
            parse_ruleset(text)
