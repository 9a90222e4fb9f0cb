"""A suppression that does not say why.

Kernel: none.

What it does: Finds `netemu: ignore=CODE` comments with nothing behind the codes. Selected by
`require-reason = true` in the configuration, or by name.

Why it matters: Whoever reads the rules next cannot tell whether the finding is meant to be there.

Example:
    *filter
    :INPUT ACCEPT [0:0]
    # netemu: ignore=NE012
    -A INPUT -o eth0 -j ACCEPT
    COMMIT

Use instead:

    *filter
    :INPUT ACCEPT [0:0]
    # netemu: ignore=NE801 copied from the provider's list as it is
    -A INPUT -s 10.1.2.3/8 -j ACCEPT
    COMMIT

References: `netemu lint --help`.
"""

from __future__ import annotations

from collections.abc import Iterator

from netemu.lint.finding import Finding, Level
from netemu.lint.rule import LintRule, Needs
from netemu.lint.subject import Subject


def check(subject: Subject) -> Iterator[Finding]:
    """Yield a finding for each suppression without words behind its codes."""
    for suppression in subject.suppressions:
        if suppression.word == "ignore" and suppression.codes and not suppression.reason:
            yield Finding(
                message="a suppression without a reason; words behind the codes give one",
                span=suppression.span,
            )


RULE = LintRule(
    code="NE902",
    name="suppression-without-reason",
    level=Level.WARNING,
    summary="A suppression that does not say why",
    check=check,
    needs=Needs.SUPPRESSIONS,
    default=False,
    asked_by="require_reason",
)
