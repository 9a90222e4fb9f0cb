"""Names for findings that last while lines above them come and go.

Kernel: none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

from netemu.lint.engine import Report
from netemu.lint.finding import Finding


def fingerprints(report: Report) -> Iterator[tuple[Finding, str]]:
    """Yield every finding with its fingerprint: of code, file and the text of its line.

    Equal ones are told apart by a number, in their order.
    """
    seen: dict[str, int] = {}
    for finding in report.findings:
        text = _text(finding, report.lines(finding.file))
        whole = "\0".join([finding.code, _last_name(finding.file), text])
        digest = hashlib.sha256(whole.encode("utf-8", "surrogateescape")).hexdigest()[:16]
        seen[digest] = seen.get(digest, 0) + 1
        yield finding, f"{digest}:{seen[digest]}"


def _text(finding: Finding, lines: list[str]) -> str:
    if finding.span is None or finding.span.line > len(lines):
        return finding.message
    return " ".join(_without_counters(lines[finding.span.line - 1].split()))


def _without_counters(words: list[str]) -> Iterable[str]:
    """Leave out packet and byte counters, which differ from one save to the next."""
    return (word for word in words if not (word.startswith("[") and word.endswith("]")))


def _last_name(file: str) -> str:
    return file.rpartition("/")[2]


def relative(file: str, directory: str) -> str:
    """Return a file's name as seen from the directory of the run."""
    head = f"{directory.rstrip('/')}/"
    return file.removeprefix(head).removeprefix("./") if directory else file.removeprefix("./")
