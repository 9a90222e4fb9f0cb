"""JUnit's XML, which most CI servers read: a suite per file, a failed case per finding.

Kernel: none.
"""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

from netemu.lint.engine import Looked, Report, level_of
from netemu.lint.finding import Finding

_NOT_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render(report: Report) -> str:
    """Return the whole report."""
    findings = len(report.findings)
    root = ET.Element("testsuites", name="netemu", tests="0", failures=str(findings))
    tests = 0
    for looked in report.looked:
        tests += _suite(root, looked)
    root.set("tests", str(tests))
    ET.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _suite(root: ET.Element, looked: Looked) -> int:
    found = looked.findings
    tests = max(len(found), 1)
    name = _clean(looked.subject.file)
    suite = ET.SubElement(
        root, "testsuite", name=name, tests=str(tests), failures=str(len(found)), errors="0"
    )
    if not found:
        ET.SubElement(suite, "testcase", name="netemu lint", classname=name)
    for finding in found:
        _case(suite, name, finding)
    return tests


def _case(suite: ET.Element, name: str, finding: Finding) -> None:
    line = str(finding.span.line) if finding.span else "0"
    case = ET.SubElement(suite, "testcase", name=finding.code, classname=name, line=line)
    failure = ET.SubElement(
        case, "failure", message=_clean(finding.message), type=level_of(finding).word
    )
    failure.text = _clean(f"{name}:{line}: {finding.code} {finding.message}")


def _clean(text: str) -> str:
    """Leave out what XML 1.0 cannot hold."""
    return _NOT_XML.sub("?", text)
