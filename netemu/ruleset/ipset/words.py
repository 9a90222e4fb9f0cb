"""A line of ipset text as words (build_argv of ipset's lib/ipset.c).

Quotes group, anywhere in a word, and cannot be escaped; an empty word is no word, and one whose
quote is still open at the end of the line is dropped. A line of more than 1023 octets is read as
several, and one of more than 30 words is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from netemu.ruleset.ipset.draft import TextProblem

LONGEST_LINE = 1023
"""MAX_CMDLINE_CHARS less the end mark."""

MOST_WORDS = 30
"""MAX_ARGS less the program's name and the end mark."""

BLANKS = " \r\n\t"
SPACES = BLANKS + "\v\f"


class Word(NamedTuple):
    """A word and where it begins, from 1."""

    text: str
    column: int


def lines_of(text: str) -> Iterator[str]:
    """Yield what ipset takes for a line, with its end if it has one."""
    for line in _ended(text):
        if len(line) <= LONGEST_LINE:
            yield line
            continue
        octets = line.encode("utf-8", "surrogateescape")
        for start in range(0, len(octets), LONGEST_LINE):
            yield octets[start : start + LONGEST_LINE].decode("utf-8", "surrogateescape")


def _ended(text: str) -> Iterator[str]:
    *lines, last = text.split("\n")
    yield from (f"{line}\n" for line in lines)
    if last:
        yield last


def split_words(line: str) -> list[Word]:
    """Return the words of a line.

    >>> [word.text for word in split_words('add s 1.1.1.1 comment "a b"')]
    ['add', 's', '1.1.1.1', 'comment', 'a b']
    """
    words: list[Word] = []
    letters: list[str] = []
    start, quoted = 0, False
    for column, letter in enumerate(line, 1):
        if letter == '"':
            quoted = not quoted
            start = start or column
        elif letter in BLANKS and not quoted:
            _end(words, letters, start)
            start = 0
        else:
            letters.append(letter)
            start = start or column
    if not quoted:
        _end(words, letters, start)
    elif not line.endswith("\n"):
        raise TextProblem("Missing close quote!")
    return words


def _end(words: list[Word], letters: list[str], start: int) -> None:
    if not letters:
        return
    if len(words) == MOST_WORDS:
        raise TextProblem("Line is too long to parse.")
    words.append(Word("".join(letters), start))
    letters.clear()
