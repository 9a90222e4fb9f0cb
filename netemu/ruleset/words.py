"""Lines split into words, as iptables-restore splits them.

Kernel: none; add_param_to_argv and tokenize_rule_counters of iptables (xshared.c).

Only `"` quotes; a backslash escapes inside quotes alone; a quote may open within a word, and the
closing one ends the word. `rule.lark` is the authority: `read_rule_line` parses with it and knows
columns; `split_words` is the quick way for lines whose shape was met before.
"""

from __future__ import annotations

import functools
import re
from importlib import resources

from lark import Lark, Token, Tree
from lark.exceptions import UnexpectedInput
from msgspec import Struct

from netemu.errors import Refusal, RulesetError

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


@functools.cache
def _grammar() -> Lark:
    text = resources.files(__package__).joinpath("rule.lark").read_text(encoding="utf-8")
    return Lark(
        text,
        parser="lalr",
        lexer="contextual",
        start=["table_line", "chain_line", "rule_line"],
        maybe_placeholders=True,
    )


@functools.cache
def _word_pattern() -> re.Pattern[str]:
    """Compile the WORD terminal alone."""
    terminal = next(item for item in _grammar().terminals if item.name == "WORD")
    return re.compile(terminal.pattern.to_regexp())


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
    return _word_pattern().findall(line)


def placed_words(line: str) -> list[Word]:
    """Split a rule line into words with their places; counters in front are left out."""
    return [
        Word(unquote(found[0]), found.start() + 1)
        for found in _word_pattern().finditer(line)
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
    return [unquote(word) if '"' in word else word for word in _word_pattern().findall(line)]


def read_rule_line(line: str) -> RuleLine:
    """Parse a rule line with the grammar."""
    tree = _parse("rule_line", line)
    counters, *tokens = tree.children
    words = [
        Word(unquote(str(token)), token.column or 1) for token in tokens if isinstance(token, Token)
    ]
    if len(words) > MAX_WORDS:
        raise RulesetError(
            "Parser cannot handle more arguments; a rule has at most 251 words",
            Refusal.SYNTAX,
            column=words[MAX_WORDS].column,
        )
    return RuleLine(words, str(counters)[1:-1] if counters else "")


def read_fields(kind: str, line: str) -> list[str]:
    """Parse a `table_line` or `chain_line` with the grammar and return its fields."""
    return [str(token) for token in _parse(kind, line).children if isinstance(token, Token)]


def _parse(start: str, line: str) -> Tree[Token]:
    try:
        return _grammar().parse(line, start=start)
    except UnexpectedInput as error:
        raise RulesetError(_EXPECTED[start], Refusal.SYNTAX, column=max(error.column, 1)) from None


_EXPECTED = {
    "table_line": "table name invalid; `*filter` would do",
    "chain_line": "chain or policy invalid; `:NAME - [0:0]` would do",
    "rule_line": "a byte that no rule may hold",
}
