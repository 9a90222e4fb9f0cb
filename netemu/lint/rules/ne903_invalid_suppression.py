"""A comment for netemu that it does not understand.

Kernel: none.

What it does: Finds comments that begin with `netemu:` and are no suppression: another word than
`ignore`, no codes, or codes that no rule has.

Why it matters: It suppresses nothing, and looks as if it did.

Example:
    *filter
    :INPUT ACCEPT [0:0]
    # netemu: ingore=NE012 no matter
    -A INPUT -j ACCEPT
    COMMIT

Use instead:

    *filter
    :INPUT ACCEPT [0:0]
    # netemu: ignore=NE012 no matter
    -A INPUT -j ACCEPT
    COMMIT

References: `netemu lint --help`.
"""

from __future__ import annotations

from collections.abc import Iterator

from netemu.lint.finding import Finding, Level
from netemu.lint.rule import LintRule, Needs
from netemu.lint.selector import means_any
from netemu.lint.subject import Subject


def check(subject: Subject) -> Iterator[Finding]:
    """Yield a finding for each comment that says nothing."""
    for suppression in subject.suppressions:
        wrong = [code for code in suppression.codes if not means_any(code, subject.known)]
        if suppression.word != "ignore":
            message = f"`netemu: {suppression.word}` means nothing; ignore=NE101 REASON would do"
        elif not suppression.codes:
            message = "a suppression without codes; ignore=NE101 REASON would do"
        elif wrong:
            message = f"no lint rule is called {', '.join(wrong)}; `netemu lint --rules` lists them"
        else:
            continue
        yield Finding(message=message, span=suppression.span)


RULE = LintRule(
    code="NE903",
    name="invalid-suppression",
    level=Level.WARNING,
    summary="A comment for netemu that it does not understand",
    check=check,
    needs=Needs.SUPPRESSIONS,
)
