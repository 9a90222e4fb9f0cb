"""Checks of the rules NE0xx: lines that would not load, by why they would not.

Kernel: none.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from netemu.errors import Refusal
from netemu.lint.finding import Finding
from netemu.lint.rule import Check
from netemu.lint.subject import Subject


def refused(*refusals: Refusal) -> Check:
    """Return a check that tells the lines refused for one of these."""

    def check(subject: Subject) -> Iterator[Finding]:
        for error in subject.refusals:
            if error.refusal not in refusals:
                continue
            span = subject.word_span(error.line, error.column or 1)
            site = subject.site_at(error.line)
            if site is not None:
                yield subject.about(site, error.message, span=span)
            else:
                table = _table(subject, error.line)
                chain = _chain(subject, error.line)
                yield Finding(message=error.message, span=span, table=table, chain=chain)

    return check


def _table(subject: Subject, line: int) -> str | None:
    """Return the table that a line stands in, by the last `*NAME` before it."""
    for text in reversed(subject.lines[: line - 1]):
        if text.startswith("*"):
            return text[1:].strip() or None
        if text == "COMMIT":
            return None
    return None


def _chain(subject: Subject, line: int) -> str | None:
    """Return the chain that a line is about, where its words tell."""
    if line > len(subject.lines):
        return None
    words = subject.lines[line - 1].split()
    if words[:1] and words[0].startswith(":"):
        return words[0][1:] or None
    for word, following in pairwise(words):
        if word in {"-A", "-I", "--append", "--insert"}:
            return following
    return None
