"""A suppression that suppresses nothing.

Kernel: none.

What it does: Finds `netemu: ignore=` comments of whose codes the line has no finding.

Why it matters: The comment says that something is odd about a rule, and it is no longer so; one day
it hides a fault that is new. Codes of rules that were not run, because they are not selected or
because the file would not load, are left alone.

Example:
    *filter
    :INPUT ACCEPT [0:0]
    # netemu: ignore=NE012 -i cannot be used in OUTPUT
    -A INPUT -i eth0 -j ACCEPT
    COMMIT

Use instead:

    *filter
    :INPUT ACCEPT [0:0]
    -A INPUT -i eth0 -j ACCEPT
    COMMIT

References: `netemu lint --help`.
"""

from __future__ import annotations

from collections.abc import Iterator

from netemu.lint.finding import Edit, Finding, Fix, Level, Span
from netemu.lint.rule import LintRule, Needs
from netemu.lint.selector import means_any
from netemu.lint.subject import Subject
from netemu.lint.suppression import Suppression


def check(subject: Subject) -> Iterator[Finding]:
    """Yield a finding for each code that was judged and not used."""
    for suppression in subject.suppressions:
        if suppression.word != "ignore":
            continue
        for code in suppression.codes:
            if code not in suppression.used and means_any(code, subject.judged):
                yield Finding(
                    message=f"unused suppression: no finding {code} on {_target(suppression)}",
                    span=suppression.span,
                    fix=_fix(subject, suppression),
                )


def _target(suppression: Suppression) -> str:
    return f"line {suppression.target}" if suppression.target else "any line below it"


def _fix(subject: Subject, suppression: Suppression) -> Fix | None:
    """Return the deletion of a comment line of which no code was used."""
    line = suppression.span.line
    if suppression.used or not subject.lines[line - 1].startswith("#"):
        return None
    span = Span(line=line, end_line=line + 1, end_column=1)
    return Fix(message=f"delete line {line}", edits=(Edit(span=span, text=""),), safe=True)


RULE = LintRule(
    code="NE901",
    name="unused-suppression",
    level=Level.WARNING,
    summary="A suppression that suppresses nothing",
    check=check,
    needs=Needs.SUPPRESSIONS,
)
