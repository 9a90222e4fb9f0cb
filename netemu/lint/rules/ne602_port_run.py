"""Rules in a row that differ in one port only.

Kernel: none.

What it does: Finds four and more neighbouring rules that are the same but for their destination
port.

Why it matters: One rule with -m multiport takes up to fifteen ports.

Example:
    *filter
    :INPUT ACCEPT [0:0]
    -A INPUT -p tcp -m tcp --dport 22 -j ACCEPT
    -A INPUT -p tcp -m tcp --dport 25 -j ACCEPT
    -A INPUT -p tcp -m tcp --dport 80 -j ACCEPT
    -A INPUT -p tcp -m tcp --dport 443 -j ACCEPT
    COMMIT

Use instead:

    *filter
    :INPUT ACCEPT [0:0]
    -A INPUT -p tcp -m multiport --dports 22,25,80,443 -j ACCEPT
    COMMIT

References: iptables-extensions(8), multiport.
"""

from __future__ import annotations

from collections.abc import Iterator

from netemu.lint.finding import Finding, Level
from netemu.lint.rule import LintRule
from netemu.lint.runs import port_runs
from netemu.lint.subject import Subject

LONG = 4


def check(subject: Subject) -> Iterator[Finding]:
    """Yield a finding for each long run."""
    for run in port_runs(subject):
        if len(run) >= LONG:
            ports = ",".join(one.value for one in run[:15])
            yield subject.about(
                run[0].site,
                f"{len(run)} rules in a row (to line {run[-1].site.rule.line}) differ only "
                f"in port; -m multiport --dports {ports} would do",
                related=subject.related(run[-1].site.rule, "the last of them"),
            )


RULE = LintRule(
    code="NE602",
    name="port-run",
    level=Level.INFO,
    summary="Rules in a row that differ in one port only",
    check=check,
    default=False,
    stylistic=True,
)
