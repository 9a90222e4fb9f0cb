"""SARIF 2.1.0 (OASIS): results with fingerprints, fixes, and each witness as a code flow.

Kernel: none.

Every rule stands in `tool.driver.rules`, found or not, so that alerts close when a finding is gone.
GitHub heeds 5,000 results of a run: with more, the worst are kept.
"""

from __future__ import annotations

import json
import string
from typing import TypeAlias

from netemu.lint.codes import RULES
from netemu.lint.engine import Report, level_of
from netemu.lint.finding import Edit, Finding, Fix, Level, Span, Witness
from netemu.lint.formats.fingerprint import fingerprints, relative
from netemu.lint.page import sections_of
from netemu.lint.rule import LintRule

Json: TypeAlias = dict[str, object]

SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)
MOST_RESULTS = 5000
"""What GitHub's code scanning takes of one run."""

_LEVELS = {
    Level.ERROR: "error",
    Level.WARNING: "warning",
    Level.INFO: "note",
    Level.STYLE: "note",
}
_UNRESERVED = frozenset(f"{string.ascii_letters}{string.digits}-._~/")
_INDEX = {rule.code: index for index, rule in enumerate(RULES)}


def render(report: Report) -> str:
    """Return the whole report."""
    found = list(fingerprints(report))
    left_out = len(found) - MOST_RESULTS
    if left_out > 0:
        found = sorted(found, key=lambda item: -level_of(item[0]))[:MOST_RESULTS]
    run: Json = {
        "tool": {
            "driver": {
                "name": "netemu",
                "version": report.version,
                "rules": [_rule(rule) for rule in RULES],
            }
        },
        "invocations": [{"executionSuccessful": True, **_notification(left_out)}],
        "columnKind": "unicodeCodePoints",
        "results": [_result(finding, mark, report) for finding, mark in found],
    }
    log = {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}
    return json.dumps(log, indent=2) + "\n"


def _notification(left_out: int) -> Json:
    if left_out <= 0:
        return {}
    text = f"{left_out} more findings are left out; the worst {MOST_RESULTS} are kept"
    return {"toolExecutionNotifications": [{"level": "warning", "message": {"text": text}}]}


def _rule(rule: LintRule) -> Json:
    page = sections_of(rule)
    return {
        "id": rule.code,
        "name": "".join(word.title() for word in rule.name.split("-")),
        "shortDescription": {"text": f"{rule.summary}."},
        "fullDescription": {"text": page["What it does"]},
        "help": {"text": "\n\n".join(f"{name}: {text}" for name, text in page.items())},
        "defaultConfiguration": {"level": _LEVELS[rule.level], "enabled": rule.default},
    }


def _result(finding: Finding, mark: str, report: Report) -> Json:
    result: Json = {
        "ruleId": finding.code,
        "ruleIndex": _INDEX[finding.code],
        "level": _LEVELS[level_of(finding)],
        "message": {"text": _message(finding)},
        "locations": [_location(finding.file, finding.span, report, finding=finding)],
        "partialFingerprints": {"primaryLocationLineHash": mark},
    }
    if finding.related:
        result["relatedLocations"] = [
            {"id": number, **_location(one.file, one.span, report, text=one.message)}
            for number, one in enumerate(finding.related)
        ]
    if finding.witness is not None:
        result["codeFlows"] = [_flow(finding, finding.witness, report)]
    if finding.fix is not None:
        result["fixes"] = [_fix(finding.file, finding.fix, report)]
    return result


def _message(finding: Finding) -> str:
    if finding.witness is None:
        return finding.message
    by = f"in {finding.witness.device}" if finding.witness.device else "from the node itself"
    return f"{finding.message}\nWitness: {finding.witness.packet} {by}"


def _location(
    file: str,
    span: Span | None,
    report: Report,
    *,
    text: str = "",
    finding: Finding | None = None,
) -> Json:
    physical: Json = {"artifactLocation": {"uri": _uri(relative(file, report.directory))}}
    if span is not None:
        physical["region"] = _region(span)
    location: Json = {"physicalLocation": physical}
    if text:
        location["message"] = {"text": text}
    if finding is not None and finding.table and finding.chain:
        name = f"{finding.table}/{finding.chain}"
        location["logicalLocations"] = [{"fullyQualifiedName": name, "kind": "function"}]
    return location


def _uri(path: str) -> str:
    """Return a name as RFC 3986 writes it."""
    quoted = "".join(
        chr(octet) if chr(octet) in _UNRESERVED else f"%{octet:02X}"
        for octet in path.encode("utf-8", "surrogateescape")
    )
    return f"file://{quoted}" if path.startswith("/") else quoted


def _region(span: Span) -> Json:
    return {
        "startLine": span.line,
        "startColumn": span.column,
        "endLine": span.end_line,
        "endColumn": span.end_column,
    }


def _flow(finding: Finding, witness: Witness, report: Report) -> Json:
    """Return the rules that the packet meets, as the steps of a program."""
    by = f"enters by {witness.device}" if witness.device else "is sent by the node itself"
    told = [(f"first: {packet}", finding.span) for packet in witness.setup]
    told.append((f"{witness.packet} {by}", finding.span))
    for step in witness.steps:
        span = None
        lines = report.lines(finding.file)
        if step.line is not None and step.line <= len(lines):
            width = len(lines[step.line - 1])
            span = Span(line=step.line, end_line=step.line, end_column=width + 1)
        told.append((step.message, span))
    if witness.outcome:
        told.append((witness.outcome, finding.span))
    return {
        "threadFlows": [
            {
                "locations": [
                    {"location": _location(finding.file, span, report, text=text)}
                    for text, span in told
                ]
            }
        ]
    }


def _fix(file: str, fix: Fix, report: Report) -> Json:
    return {
        "description": {"text": fix.message},
        "artifactChanges": [
            {
                "artifactLocation": {"uri": _uri(relative(file, report.directory))},
                "replacements": [_replacement(edit) for edit in fix.edits],
            }
        ],
    }


def _replacement(edit: Edit) -> Json:
    return {"deletedRegion": _region(edit.span), "insertedContent": {"text": edit.text}}
