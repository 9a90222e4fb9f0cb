"""Two rules with different verdicts that have some packets in common.

Kernel: none; ipt_do_table takes the first rule that matches.

What it does: Finds rules of which an earlier rule of the chain takes some packets, and does
something else with them; each of the two asks for others besides.

Why it matters: What becomes of the packets that both ask for is decided by the order alone. Nothing
in the two rules tells which was meant. Selected only by name.

Example:
    *filter
    :INPUT ACCEPT [0:0]
    -A INPUT -s 10.1.0.0/16 -p tcp -j ACCEPT
    -A INPUT -p tcp --dport 22 -j DROP
    COMMIT

Use instead: a rule for what both ask for, in front of them.

References: Al-Shaer and Hamed, "Firewall Policy Advisor for Anomaly Discovery and Rule Editing",
2003 (correlation).
"""

from __future__ import annotations

from collections.abc import Iterator

from netemu.lint.finding import Finding, Level
from netemu.lint.overlap import clashes, finding_of
from netemu.lint.reach_findings import lines_text
from netemu.lint.rule import LintRule
from netemu.lint.subject import Subject


def check(subject: Subject) -> Iterator[Finding]:
    """Yield a finding for each rule that has packets in common with earlier ones."""
    for clash in clashes(subject):
        if clash.crossing:
            by = lines_text(tuple(one.rule for one in clash.crossing))
            found = finding_of(
                subject,
                clash.later,
                clash.crossing,
                f"correlates with {by}: some packets fit both, which do not do the same, and only "
                "the order decides",
                "has packets in common with it",
            )
            if found is not None:
                yield found


RULE = LintRule(
    code="NE109",
    name="correlation",
    level=Level.INFO,
    summary="Two rules with different verdicts have some packets in common",
    check=check,
    default=False,
    stylistic=True,
)
