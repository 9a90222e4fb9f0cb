"""One file of a snapshot as text, with errors that point into it.

JSON is decoded straight into declared structs; a type that does not fit is reported by msgspec as
a path (`$[3].ifindex`), which is walked again here to find the line and column.
"""

from __future__ import annotations

import json
import re
from typing import TypeVar

import msgspec
from msgspec import Struct

from netemu.errors import SnapshotError

Shape = TypeVar("Shape")

_STEP = re.compile(r"\.([\w-]+)|\[(\d+|\.\.\.)\]")
_SPACE = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder()

CONTEXT_LIMIT = 120
"""Longer lines (JSON comes as one line) are cut to this many characters around the fault."""


class BadValueError(ValueError):
    """A value in a file that cannot be used; `value` is its text as the file has it."""

    def __init__(self, message: str, value: str) -> None:
        """Keep the text, for finding it again."""
        super().__init__(message)
        self.value = value


class Document(Struct, frozen=True, kw_only=True):
    """The text of one file and the command whose output it is."""

    name: str
    text: str
    command: str

    @property
    def is_json(self) -> bool:
        """Return whether the content is JSON rather than a tool's text form."""
        return self.text.lstrip()[:1] in ("[", "{", "")

    def decode(self, shape: type[Shape]) -> Shape:
        """Return the JSON content as `shape`, or raise SnapshotError with its place."""
        try:
            # Some tools print nothing at all instead of an empty list.
            return msgspec.json.decode(self.text if self.text.strip() else "[]", type=shape)
        except msgspec.ValidationError as error:
            message, _, path = str(error).partition(" - at ")
            offset = find_path(self.text, path.strip("`"))
            raise self.error(f"{message.lower()} at {path or '`$`'}", offset) from None
        except msgspec.DecodeError as error:
            raise self.error(str(error), _offset_of_byte(self.text, str(error))) from None

    def error(self, message: str, offset: int, *, right: str = "") -> SnapshotError:
        """Return the error for what stands at character `offset`."""
        offset = min(offset, len(self.text))
        start = self.text.rfind("\n", 0, offset) + 1
        end = self.text.find("\n", offset)
        line = self.text[start : end if end >= 0 else len(self.text)]
        should = right or f"the untouched output of `{self.command}` is needed"
        column = offset - start + 1
        return SnapshotError(
            f"{message}; {should}",
            file=self.name,
            line=self.text.count("\n", 0, offset) + 1,
            column=column,
            context=line if len(line) <= CONTEXT_LIMIT else "",
        )

    def line_error(self, number: int, message: str, value: str = "") -> SnapshotError:
        """Return the error for line `number` (from 1), at `value` when that stands in it."""
        lines = self.text.splitlines(keepends=True)
        start = sum(len(line) for line in lines[: number - 1])
        line = lines[number - 1] if number <= len(lines) else ""
        return self.error(message, start + max(0, line.find(value) if value else 0))

    def whole_number(self, line: int, text: str, default: int = 0) -> int:
        """Return the number that stands in a text form, `default` where nothing does."""
        if not text:
            return default
        if not text.isdecimal():
            raise self.line_error(line, f"{text!r} is no whole number", text)
        return int(text)

    def record_error(self, index: int, error: ValueError) -> SnapshotError:
        """Return the error for record `index` of the file's list."""
        value = error.value if isinstance(error, BadValueError) else ""
        if not self.is_json:
            return self.error(str(error), max(0, self.text.find(value)))
        start = find_path(self.text, f"$[{index}]")
        found = self.text.find(json.dumps(value), start) if value else -1
        return self.error(str(error), found if found >= 0 else start)


def find_path(text: str, path: str) -> int:
    """Return the offset in JSON `text` of the value that a msgspec path names.

    >>> find_path('[{"a": 1}, {"a": "x"}]', "$[1].a")
    17
    """
    position = _skip(text, 0)
    for field, index in _STEP.findall(path):
        if index == "...":
            break
        try:
            found = (
                _enter_list(text, position, int(index)) if index else _enter(text, position, field)
            )
        except ValueError:
            # What stands behind the fault need not be JSON at all.
            break
        if found < 0:
            break
        position = found
    return position


def _skip(text: str, position: int) -> int:
    found = _SPACE.match(text, position)
    return found.end() if found else position


def _enter_list(text: str, position: int, index: int) -> int:
    position = _skip(text, position + 1)
    for _ in range(index):
        _, position = _DECODER.raw_decode(text, position)
        position = _skip(text, _skip(text, position) + 1)
    return position


def _enter(text: str, position: int, field: str) -> int:
    position = _skip(text, position + 1)
    while text[position : position + 1] == '"':
        key, position = _DECODER.raw_decode(text, position)
        position = _skip(text, _skip(text, position) + 1)
        if key == field:
            return position
        _, position = _DECODER.raw_decode(text, position)
        position = _skip(text, _skip(text, position) + 1)
    return -1


def _offset_of_byte(text: str, message: str) -> int:
    found = re.search(r"\(byte (\d+)\)", message)
    if not found:
        return len(text)
    return len(text.encode()[: int(found.group(1))].decode(errors="ignore"))
