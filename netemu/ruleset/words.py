"""Lines split into words, as iptables-restore splits them.

Kernel: none; add_param_to_argv and tokenize_rule_counters of iptables (xshared.c).

Only `"` quotes; a backslash escapes inside quotes alone; a quote may open within a word, and the
closing one ends the word. `rule.lark` is the authority. What Lark compiles its terminals to is kept
(`rule_terminals.py`), and words are found by that; Lark itself is imported for lines that are not
as iptables-save writes them, and says what is wrong with those. A test holds both to the same words
and columns.
"""

from __future__ import annotations

import re

from msgspec import Struct

from netemu.errors import Refusal, RulesetError
from netemu.ruleset.rule_terminals import TERMINALS

MAX_WORDS = 251
"""iptables-restore keeps 255 arguments, of which it fills `iptables -t TABLE` and a NULL itself."""


class Word(Struct, frozen=True):
    """A word without its quotes, and its column from 1."""

    text: str
    column: int


class RuleLine(Struct, frozen=True):
    """A rule's words and its counters."""

    words: list[Word]
    counters: str
    """`12:3456`, or empty."""


_WORD = re.compile(TERMINALS["WORD"])
_COUNTERS = re.compile(TERMINALS["COUNTERS"])
_PLAIN_TABLE = re.compile(r"\*([a-z]+)\n?")
"""A line that begins a table, as iptables-save writes it."""


_QUOTED = re.compile(r'([^"]*)"((?:[^"\\]|\\.)*)', re.DOTALL)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ODD_BLANK = re.compile(r"[^\x21-\x7e \t\n]")
"""What str.split might take for a blank: anything that is neither printable ASCII nor a blank."""

_BARE = re.compile(r"[^ \t\n]+")


def unquote(word: str) -> str:
    """Return what a word of the file means.

    >>> unquote('"two words"'), unquote('a"b c"')
    ('two words', 'ab c')
    """
    parts = _QUOTED.match(word)
    if parts is None:
        return word
    bare, quoted = parts.groups()
    return bare + (_ESCAPE.sub(r"\1", quoted) if "\\" in quoted else quoted)


def raw_words(line: str) -> list[str]:
    """Split a rule line without counters into words that keep their quotes."""
    return _WORD.findall(line)


def placed_words(line: str) -> list[Word]:
    """Split a rule line into words with their places; counters in front are left out."""
    return [
        Word(unquote(found[0]), found.start() + 1)
        for found in _WORD.finditer(line)
        if found.start() or line[0] != "["
    ]


def split_words(line: str) -> list[str]:
    """Split a rule line without counters into words."""
    if '"' not in line:
        return _BARE.findall(line) if _ODD_BLANK.search(line) else line.split()
    if line.count('"') == 2 and "\\" not in line and not _ODD_BLANK.search(line):
        before, quoted, after = line.split('"')
        if before[-1:] == " ":
            return [*before.split(), quoted, *after.split()]
    return [unquote(word) if '"' in word else word for word in _WORD.findall(line)]


def read_rule_line(line: str) -> RuleLine:
    """Parse a rule line as the grammar has it."""
    if line[:1] in _BLANKS:
        words, shown = _parsed(line)
    else:
        counters = _COUNTERS.match(line)
        start, shown = (counters.end(), counters[0]) if counters is not None else (0, "")
        words = [
            Word(unquote(found[0]), found.start() + 1) for found in _WORD.finditer(line, start)
        ]
    if len(words) > MAX_WORDS:
        raise RulesetError(
            "Parser cannot handle more arguments; a rule has at most 251 words",
            Refusal.SYNTAX,
            column=words[MAX_WORDS].column,
        )
    return RuleLine(words, shown[1:-1])


_BLANKS = frozenset(" \t\n")


def _parsed(line: str) -> tuple[list[Word], str]:
    """Return the words and the counters of a rule line that begins with blanks."""
    from netemu.ruleset.grammar import parse  # noqa: PLC0415 - Lark, which few lines need

    counters, *tokens = parse("rule_line", line)
    return [Word(unquote(text), column) for text, column in tokens], counters[0]


def read_fields(kind: str, line: str) -> list[str]:
    """Parse a `table_line` or `chain_line` with the grammar and return its fields."""
    plain = _PLAIN_TABLE.fullmatch(line) if kind == "table_line" else None
    if plain is not None:
        return [plain[1]]
    from netemu.ruleset.grammar import parse  # noqa: PLC0415 - as above

    return [text for text, _ in parse(kind, line) if text]
