"""Suppressions: comments in a rule file that say which findings are meant to be there.

Kernel: none.

iptables-restore takes `#` for a comment in column 1 only, so a suppression is a line of its own
above the rule or chain, or stands in the rule's own `-m comment --comment`, which survives loading:

    # netemu: ignore=NE101 the next rule documents what the provider drops
    -A INPUT -s 192.0.2.0/24 -j DROP
    -A INPUT -s 198.51.100.0/24 -m comment --comment "netemu: ignore=NE101 as above" -j DROP
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from netemu.lint.finding import Finding, Span
from netemu.lint.selector import fits
from netemu.lint.suppression import Suppression

_DIRECTIVE = re.compile(
    r"netemu:\s*(?P<word>[A-Za-z-]*)(?:\s*=\s*(?P<codes>[A-Za-z0-9-]*(?:\s*,\s*[A-Za-z0-9-]+)*))?"
    r"(?P<reason>[^\"]*)"
)
_QUICK = "netemu:"


def read_suppressions(lines: list[str]) -> list[Suppression]:
    """Return every suppression of a file."""
    return [
        Suppression(
            span=Span(
                line=number,
                column=found.start() + 1,
                end_line=number,
                end_column=found.end() + 1,
            ),
            word=found["word"],
            codes=tuple(filter(None, re.split(r"\s*,\s*", found["codes"] or ""))),
            reason=found["reason"].strip(),
            target=number if not line.startswith("#") else _following(lines, number),
        )
        for number, line in enumerate(lines, start=1)
        if _QUICK in line
        for found in _DIRECTIVE.finditer(line)
        if line.startswith("#") or "--comment" in line[: found.start()]
    ]


def _following(lines: list[str], number: int) -> int:
    """Return the next line that is neither empty nor a comment."""
    for offset, line in enumerate(lines[number:], start=number + 1):
        if line and not line.startswith("#"):
            return offset
    return 0


def suppressed(
    findings: Iterable[Finding], suppressions: Iterable[Suppression], file: str
) -> Iterator[Finding]:
    """Yield the findings that nothing in their file suppresses; note which was used."""
    by_line: dict[int, list[Suppression]] = {}
    for suppression in suppressions:
        if suppression.word == "ignore":
            by_line.setdefault(suppression.target, []).append(suppression)
    for finding in findings:
        meant = False
        line = finding.span.line if finding.span is not None and finding.file == file else -1
        for suppression in by_line.get(line, ()):
            for code in suppression.codes:
                if fits(finding.code, code):
                    suppression.used.add(code)
                    meant = True
        if not meant:
            yield finding
