"""A line per finding: `FILE:LINE:COL: CODE message`, as compilers and ruff print it.

Kernel: none.
"""

from __future__ import annotations

from collections.abc import Iterator

from netemu.lint.engine import Report, level_of
from netemu.lint.finding import Finding, Level


def render(report: Report) -> str:
    """Return the whole report."""
    findings = report.findings
    lines = [f"{place(one)}: {one.code} {mark(one)}{one.message}" for one in findings]
    return "".join(f"{line}\n" for line in [*lines, summary(report)])


def place(finding: Finding) -> str:
    """Return `FILE:LINE:COL`, without what is not known."""
    if finding.span is None:
        return finding.file
    return f"{finding.file}:{finding.span.line}:{finding.span.column}"


def mark(finding: Finding) -> str:
    """Return `[*] ` for a finding that --fix settles."""
    return "[*] " if finding.fix is not None and finding.fix.safe else ""


def summary(report: Report) -> str:
    """Return the last line: how many findings, of what, where."""
    findings = report.findings
    files = f"{_count(len(report.looked), 'file')}, {_count(report.rules, 'rule')}"
    hidden = sum(one.suppressed for one in report.looked)
    also = f", {hidden} suppressed" if hidden else ""
    if not findings:
        return f"No findings in {files}{also}."
    counts = ", ".join(_counts(findings))
    fixable = sum(bool(mark(one)) for one in findings)
    tail = f" [*] {fixable} fixable with --fix." if fixable else ""
    return f"Found {len(findings)} ({counts}) in {files}{also}.{tail}"


def _counts(findings: list[Finding]) -> Iterator[str]:
    for level in reversed(Level):
        number = sum(level_of(one) is level for one in findings)
        if number:
            plural = "s" if number > 1 and level in {Level.ERROR, Level.WARNING} else ""
            yield f"{number} {level.word}{plural}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
