"""A rule whose packets include all those of an earlier one with another verdict.

Kernel: none; ipt_do_table takes the first rule that matches.

What it does: Finds rules to which an earlier rule of the chain is an exception: it takes a part of
their packets and does something else with it.

Why it matters: That is how exceptions are written; but where the order is changed, the exception is
lost. A review lists such pairs. Selected only by name.

Example:
    *filter
    :INPUT ACCEPT [0:0]
    -A INPUT -s 10.1.0.0/16 -p tcp --dport 22 -j ACCEPT
    -A INPUT -p tcp --dport 22 -j DROP
    COMMIT

Use instead: the same, if the exception is meant.

References: Al-Shaer and Hamed, "Firewall Policy Advisor for Anomaly Discovery and Rule Editing",
2003 (generalization).
"""

from __future__ import annotations

from collections.abc import Iterator

from netemu.lint.finding import Finding, Level
from netemu.lint.overlap import clashes, finding_of
from netemu.lint.reach_findings import lines_text
from netemu.lint.rule import LintRule
from netemu.lint.subject import Subject


def check(subject: Subject) -> Iterator[Finding]:
    """Yield a finding for each rule to which earlier ones are exceptions."""
    for clash in clashes(subject):
        if clash.contained:
            by = lines_text(tuple(one.rule for one in clash.contained))
            decides = "decides" if len(clash.contained) == 1 else "decide"
            found = finding_of(
                subject,
                clash.later,
                clash.contained,
                f"generalizes: {by} {decides} otherwise about a part of its packets",
                "is an exception to it",
            )
            if found is not None:
                yield found


RULE = LintRule(
    code="NE108",
    name="generalization",
    level=Level.INFO,
    summary="A rule includes all packets of an earlier one with another verdict",
    check=check,
    default=False,
    stylistic=True,
)
