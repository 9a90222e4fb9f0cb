"""The changed lines that are responsible for each difference of two rule files.

Theory of operation: both texts are merged into one list of lines, each in the old text, in the new
one, or in both. Any choice among the changed ones is a text of its own. The example of a difference
is sent through the old rules with changes added: first those changes that it met on its way, all of
them if these do not do; then one change after the other is taken out again as long as the packet
fares as in the new rules. What is left is needed, each line of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace  # noqa: TID251 - a Difference is a dataclass
from difflib import SequenceMatcher

from msgspec import Struct

from netemu.errors import InputError
from netemu.questions.diff import Difference, DiffResult
from netemu.questions.fates import Answer, ask_engine
from netemu.questions.subject import Subject
from netemu.sim.spec import TextFile

_COUNTERS = re.compile(r"\[\d+:\d+\]")


class Line(Struct, frozen=True):
    """One line of the merged text."""

    text: str
    old: int
    """Number in the old text, from 1; 0 if it is not there."""
    new: int

    @property
    def changed(self) -> bool:
        """Whether it stands in one text only."""
        return not (self.old and self.new)

    @property
    def shown(self) -> str:
        """As a report has it."""
        return f"-{self.old}  {self.text}" if self.old else f"+{self.new}  {self.text}"


def blame(result: DiffResult, old: Subject, new: Subject) -> None:
    """Give each difference the lines that are responsible for it."""
    lines = merged(old.lines, new.lines)
    changes = [at for at, line in enumerate(lines) if line.changed]
    for place, found in enumerate(result.differences):
        responsible = _Search(lines, changes, old, found).minimal()
        result.differences[place] = replace(
            found, lines=tuple(lines[at].shown for at in responsible)
        )


def merged(old: list[str], new: list[str]) -> list[Line]:
    """Merge two texts; counters and comments are no changes.

    >>> [line.shown for line in merged(["a", "b"], ["a", "c"]) if line.changed]
    ['-2  b', '+2  c']
    """
    befores, afters = _numbered(old), _numbered(new)
    matcher = SequenceMatcher(
        None, [_said(text) for _, text in befores], [_said(text) for _, text in afters], False
    )
    lines: list[Line] = []
    for tag, i, j, k, m in matcher.get_opcodes():
        if tag == "equal":
            pairs = zip(befores[i:j], afters[k:m], strict=True)
            lines += [Line(text, before, after) for (before, text), (after, _) in pairs]
            continue
        lines += [Line(text, number, 0) for number, text in befores[i:j]]
        lines += [Line(text, 0, number) for number, text in afters[k:m]]
    return lines


def _numbered(lines: list[str]) -> list[tuple[int, str]]:
    return [
        (number, text)
        for number, text in enumerate(lines, 1)
        if text.strip() and not text.startswith("#")
    ]


def _said(text: str) -> str:
    return _COUNTERS.sub("", text).strip()


class _Search:
    """Looks for the changes behind one difference."""

    def __init__(
        self, lines: list[Line], changes: list[int], old: Subject, found: Difference
    ) -> None:
        self.lines = lines
        self.changes = changes
        self.old = old
        self.found = found

    def minimal(self) -> list[int]:
        """Return places in the merged text; none if the rules are not what differs."""
        met = self._met()
        for chosen in (met, self.changes):
            if chosen and self._reproduces(chosen):
                return self._reduced(chosen)
        return []

    def _met(self) -> list[int]:
        """Return the changes that the example met in either rule set."""
        old = self._lines_of(self.found.old)
        new = self._lines_of(self.found.new)
        return [at for at in self.changes if self.lines[at].old in old or self.lines[at].new in new]

    @staticmethod
    def _lines_of(answer: Answer) -> frozenset[int]:
        return answer.lines - {0}

    def _reproduces(self, chosen: Iterable[int]) -> bool:
        wanted = set(chosen)
        text = "".join(
            f"{line.text}\n"
            for at, line in enumerate(self.lines)
            if (at in wanted) != bool(line.old) or (line.old and line.new)
        )
        try:
            answer = ask_engine(self.old.with_rules(self._file(text)), self.found.example)
        except InputError:
            return False
        return answer.shares == self.found.new.shares

    def _file(self, text: str) -> TextFile:
        return TextFile(name=self.old.ruleset.file, text=text)

    def _reduced(self, chosen: list[int]) -> list[int]:
        """Take out what is not needed: halves first, then single changes."""
        size = max(len(chosen) // 2, 1)
        while True:
            at = 0
            while at < len(chosen):
                fewer = chosen[:at] + chosen[at + size :]
                if fewer and self._reproduces(fewer):
                    chosen = fewer
                else:
                    at += size
            if size == 1:
                return chosen
            size //= 2
