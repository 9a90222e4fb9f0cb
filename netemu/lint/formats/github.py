"""Workflow commands that GitHub shows beside the lines of a change.

Kernel: none.
"""

from __future__ import annotations

from netemu.lint.engine import Report, level_of
from netemu.lint.finding import Finding, Level
from netemu.lint.formats.fingerprint import relative

_COMMANDS = {
    Level.ERROR: "error",
    Level.WARNING: "warning",
    Level.INFO: "notice",
    Level.STYLE: "notice",
}


def render(report: Report) -> str:
    """Return the whole report."""
    return "".join(_command(finding, report.directory) for finding in report.findings)


def _command(finding: Finding, directory: str) -> str:
    parts = [f"title=netemu ({finding.code})", f"file={relative(finding.file, directory)}"]
    span = finding.span
    if span is not None:
        parts += [
            f"line={span.line}",
            f"col={span.column}",
            f"endLine={span.end_line}",
            f"endColumn={span.end_column}",
        ]
    shown = ",".join(_property(part) for part in parts)
    return f"::{_COMMANDS[level_of(finding)]} {shown}::{_data(finding.message)}\n"


def _data(text: str) -> str:
    """Escape as @actions/core does."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    name, _, value = text.partition("=")
    return f"{name}={_data(value).replace(':', '%3A').replace(',', '%2C')}"
