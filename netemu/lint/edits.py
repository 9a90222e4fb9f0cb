"""Edits of a text: how fixes are written, and how they are made.

Kernel: none.
"""

from __future__ import annotations

from collections.abc import Iterable

from netemu.lint.finding import Edit, Fix, Span


def apply_edits(text: str, edits: Iterable[Edit]) -> str:
    """Return the text with every edit made; what none of them names stays, octet by octet."""
    starts = [0]
    for line in text.split("\n"):
        starts.append(starts[-1] + len(line) + 1)

    def offset(line: int, column: int) -> int:
        return min(starts[line - 1] + column - 1, len(text)) if line < len(starts) else len(text)

    pieces = sorted(
        (
            offset(edit.span.line, edit.span.column),
            offset(edit.span.end_line, edit.span.end_column),
            edit.text,
        )
        for edit in edits
    )
    for first, last, new in reversed(pieces):
        text = text[:first] + new + text[last:]
    return text


def touched_lines(fix: Fix) -> frozenset[int]:
    """Return the lines that a fix changes."""
    lines: set[int] = set()
    for edit in fix.edits:
        span = edit.span
        last = span.end_line - (span.end_column == 1 and span.end_line > span.line)
        lines |= set(range(span.line, last + 1))
    return frozenset(lines)


def delete_lines(*lines: int, safe: bool = True) -> Fix:
    """Return the fix that deletes whole lines."""
    edits = tuple(
        Edit(span=Span(line=line, end_line=line + 1, end_column=1), text="") for line in lines
    )
    shown = ", ".join(str(line) for line in lines)
    return Fix(message=f"delete line{'s' * (len(lines) > 1)} {shown}", edits=edits, safe=safe)


def replace_span(span: Span, text: str, *, safe: bool = True) -> Fix:
    """Return the fix that writes something else in one place."""
    message = f"write `{text}`" if text else "leave it out"
    return Fix(message=message, edits=(Edit(span=span, text=text),), safe=safe)
