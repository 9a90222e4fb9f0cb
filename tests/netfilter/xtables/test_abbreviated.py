"""Lists of words that may be cut short."""

from __future__ import annotations

import pytest

from netemu.errors import RulesetError
from netemu.netfilter.xtables.abbreviated import AbbreviatedList, find_abbreviated
from netemu.netfilter.xtables.kinds import OptionCall

CALL = OptionCall(extension="x", option="y")
KIND = AbbreviatedList(
    {"NONE": 0, "ALPHA": 1, "ALPINE": 2, "BETA": 4},
    shown=("BETA", "ALPHA", "ALPINE"),
    bad='bad "%s"',
    none="NONE",
)


@pytest.mark.parametrize(
    "text, found", [("al", "ALPHA"), ("ALPI", "ALPINE"), ("", "NONE"), ("gamma", None)]
)
def test_first_word_that_begins_so(text: str, found: str | None) -> None:
    assert find_abbreviated(text, KIND.words) == found


@pytest.mark.parametrize("text, bits, shown", [("b,a", 5, "BETA,ALPHA"), ("none", 0, "NONE")])
def test_read_and_show(text: str, bits: int, shown: str) -> None:
    assert KIND.parse(text, CALL) == bits
    assert KIND.show(bits) == shown


@pytest.mark.parametrize(
    "text, named", [("", '""'), ("b,", '""'), ("b,,a", '",a"'), ("b,x,a", '"x"')]
)
def test_empty_and_unknown_words_are_refused(text: str, named: str) -> None:
    """iptables names an empty word together with all that follows it."""
    with pytest.raises(RulesetError, match=f"^bad {named}; it takes BETA, ALPHA, ALPINE"):
        KIND.parse(text, CALL)
