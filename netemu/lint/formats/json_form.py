"""A JSON list of findings: the contract for programs.

Kernel: none.
"""

from __future__ import annotations

import json
from typing import TypeAlias

from netemu.lint.engine import Report, rule_of
from netemu.lint.finding import Edit, Finding, Span, Witness

Json: TypeAlias = dict[str, object]


def render(report: Report) -> str:
    """Return the whole report."""
    findings = [as_json(finding) for finding in report.findings]
    return json.dumps(findings, indent=2, ensure_ascii=False) + "\n"


def as_json(finding: Finding) -> Json:
    """Return one finding."""
    rule = rule_of(finding)
    span = finding.span
    return {
        "code": finding.code,
        "name": rule.name,
        "level": rule.level.word,
        "file": finding.file,
        "line": span.line if span else None,
        "column": span.column if span else None,
        "end_line": span.end_line if span else None,
        "end_column": span.end_column if span else None,
        "message": finding.message,
        "table": finding.table,
        "chain": finding.chain,
        "rule": finding.rule,
        "witness": _witness(finding.witness) if finding.witness else None,
        "related": [
            {"file": one.file, "line": one.span.line, "column": one.span.column}
            for one in finding.related
        ],
        "fix": {
            "safe": finding.fix.safe,
            "edits": [_edit(edit) for edit in finding.fix.edits],
        }
        if finding.fix
        else None,
    }


def _witness(witness: Witness) -> Json:
    return {
        "packet": witness.packet,
        "in": witness.device or None,
        "local": witness.local,
        "setup": list(witness.setup),
        "command": witness.command,
    }


def _edit(edit: Edit) -> Json:
    return {**_span(edit.span), "text": edit.text}


def _span(span: Span) -> Json:
    return {
        "line": span.line,
        "column": span.column,
        "end_line": span.end_line,
        "end_column": span.end_column,
    }
