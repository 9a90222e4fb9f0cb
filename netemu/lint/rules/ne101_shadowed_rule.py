"""A rule whose packets earlier rules take.

Kernel: none; ipt_do_table tries a chain's rules in their order.

What it does: Finds rules that no packet can match since earlier rules of the chain take all packets
that they ask for, be it one rule or several together.

Why it matters: What the rule says does not happen. If it says the same as the earlier rules it is
ballast; if not, somebody believes in a rule that never works.

Example:
    *filter
    :INPUT DROP [0:0]
    -A INPUT -s 10.0.0.0/9 -j DROP
    -A INPUT -s 10.128.0.0/9 -j DROP
    -A INPUT -s 10.1.2.3/32 -p tcp -m tcp --dport 22 -j ACCEPT
    COMMIT

Use instead:

    *filter
    :INPUT DROP [0:0]
    -A INPUT -s 10.1.2.3/32 -p tcp -m tcp --dport 22 -j ACCEPT
    -A INPUT -s 10.0.0.0/9 -j DROP
    -A INPUT -s 10.128.0.0/9 -j DROP
    COMMIT

References: Al-Shaer and Hamed, "Firewall Policy Advisor for Anomaly Discovery and Rule Editing",
2003 (shadowing).
"""

from __future__ import annotations

from collections.abc import Iterator

from netemu.lint.dead import Why
from netemu.lint.finding import Finding, Level
from netemu.lint.reach_findings import finding_of, lines_text
from netemu.lint.rule import LintRule
from netemu.lint.subject import Subject


def check(subject: Subject) -> Iterator[Finding]:
    """Yield a finding for each rule whose packets earlier rules take."""
    for dead in subject.dead:
        if dead.why is Why.SHADOWED:
            several = len(dead.by) > 1
            take = "together take" if several else "takes"
            found = finding_of(
                subject,
                dead,
                f"no packet can match this rule: {lines_text(dead.by)} {take} all that it asks for",
            )
            if found is not None:
                yield found


RULE = LintRule(
    code="NE101",
    name="shadowed-rule",
    level=Level.WARNING,
    summary="Earlier rules take all packets of a rule",
    check=check,
)
