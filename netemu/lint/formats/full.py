"""Each finding with the lines it is about, the witness, and what would settle it.

Kernel: none.
"""

from __future__ import annotations

from collections.abc import Iterator

from netemu.lint.engine import Report, level_of, rule_of
from netemu.lint.finding import Finding, Level, Span
from netemu.lint.formats.concise import mark, place, summary

WIDEST = 160
"""Columns of a line that are shown."""

_COLOURS = {
    Level.ERROR: "\x1b[31m",
    Level.WARNING: "\x1b[33m",
    Level.INFO: "\x1b[36m",
    Level.STYLE: "\x1b[34m",
}
_BOLD, _PLAIN = "\x1b[1m", "\x1b[0m"


def render(report: Report, *, colour: bool = False) -> str:
    """Return the whole report."""
    rows: list[str] = []
    for finding in report.findings:
        rows += _rows(finding, report, colour=colour)
        rows.append("")
    rows.append(summary(report))
    return "".join(f"{row}\n" for row in rows)


def _rows(finding: Finding, report: Report, *, colour: bool) -> Iterator[str]:
    rule = rule_of(finding)
    level = level_of(finding)
    head = f"{finding.code} {mark(finding)}{level.word}"
    if colour:
        head = f"{_BOLD}{_COLOURS[level]}{head}{_PLAIN}"
    yield f"{head}: {finding.message}  [{rule.name}]"
    where = ""
    if finding.table and finding.chain:
        where = f"   {finding.table}/{finding.chain}"
        where += f" rule {finding.rule}" if finding.rule else ""
    yield f"  --> {place(finding)}{where}"
    yield from _snippet(finding, report)
    yield from _notes(finding)


def _snippet(finding: Finding, report: Report) -> Iterator[str]:
    """Yield the lines that the finding and its related places are about, in their order."""
    marked: list[tuple[Span, str, str]] = []
    if finding.span is not None:
        marked.append((finding.span, "^", ""))
    marked += [(one.span, "-", one.message) for one in finding.related if one.file == finding.file]
    lines = report.lines(finding.file)
    marked = sorted(
        (item for item in marked if item[0].line <= len(lines)),
        key=lambda item: (item[0].line, item[0].column),
    )
    if not marked:
        return
    width = len(str(marked[-1][0].line))
    yield f"{'':{width}} |"
    shown = 0
    for span, sign, message in marked:
        if shown and span.line > shown + 1:
            yield f"{'...':{width}}"
        if span.line != shown:
            yield f"{span.line:{width}} | {_cut(lines[span.line - 1])}"
        shown = span.line
        underlined = sign * max(1, min(span.end_column, WIDEST + 1) - span.column)
        if span.column <= WIDEST:
            yield f"{'':{width}} | {'':{span.column - 1}}{underlined} {message}".rstrip()
    yield f"{'':{width}} |"


def _cut(line: str) -> str:
    line = line.replace("\t", " ")
    return line if len(line) <= WIDEST else f"{line[: WIDEST - 3]}..."


def _notes(finding: Finding) -> Iterator[str]:
    for one in finding.related:
        if one.file != finding.file:
            yield f"  = also:    {one.file}:{one.span.line} {one.message}".rstrip()
    witness = finding.witness
    if witness is not None:
        for packet in witness.setup:
            yield f"  = first:   {packet}"
        by = f" in {witness.device}" if witness.device else " from the node itself"
        outcome = f" -> {witness.outcome}" if witness.outcome else ""
        how = "" if witness.replayed else " (by the analysis; not replayed)"
        yield f"  = witness: {witness.packet}{by}{outcome}{how}"
        if witness.command:
            yield f"  = try:     {witness.command}"
    if finding.fix is not None:
        how = "safe" if finding.fix.safe else "unsafe: --unsafe-fixes"
        yield f"  = fix:     {finding.fix.message} ({how})"
