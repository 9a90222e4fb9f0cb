"""GitLab's Code Quality report: a JSON list.

Kernel: none.
"""

from __future__ import annotations

import json

from netemu.lint.engine import Report, level_of
from netemu.lint.finding import Level
from netemu.lint.formats.fingerprint import fingerprints, relative

_SEVERITIES = {
    Level.ERROR: "critical",
    Level.WARNING: "major",
    Level.INFO: "minor",
    Level.STYLE: "info",
}


def render(report: Report) -> str:
    """Return the whole report."""
    issues = [
        {
            "description": f"{finding.code}: {finding.message}",
            "check_name": finding.code,
            "fingerprint": mark,
            "severity": _SEVERITIES[level_of(finding)],
            "location": {
                "path": relative(finding.file, report.directory),
                "lines": {
                    "begin": finding.span.line if finding.span else 1,
                    "end": finding.span.end_line if finding.span else 1,
                },
            },
        }
        for finding, mark in fingerprints(report)
    ]
    return json.dumps(issues, indent=2) + "\n"
