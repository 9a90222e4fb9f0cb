"""Lines and words as ipset cuts them."""

from __future__ import annotations

import pytest

from netemu.ruleset.ipset.draft import TextProblem
from netemu.ruleset.ipset.words import lines_of, split_words


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("add a  1.1.1.1\t-exist\n", ["add", "a", "1.1.1.1", "-exist"]),
        ('add a 1.1.1.1 comment "a  b"\n', ["add", "a", "1.1.1.1", "comment", "a  b"]),
        ('a"d d" ""x\n', ["ad d", "x"]),
        ('add "" b\n', ["add", "b"]),
        ('add a "open\n', ["add", "a"]),
    ],
)
def test_words(line, words):
    assert [word.text for word in split_words(line)] == words


def test_an_open_quote_is_noticed_only_at_the_end_of_the_file():
    with pytest.raises(TextProblem, match="Missing close quote!"):
        split_words('add a "open')


def test_31_words_are_too_many():
    split_words(" ".join("x" * 30) + "\n")
    with pytest.raises(TextProblem, match="too long to parse"):
        split_words(" ".join("x" * 31) + "\n")


def test_a_long_line_is_several():
    assert [len(line) for line in lines_of("x" * 1500 + "\n" + "y")] == [1023, 478, 1]


def test_columns_count_from_one():
    assert [word.column for word in split_words('add  "a b" c\n')] == [1, 6, 12]
