"""Many rules in a row that differ in one address only.

Kernel: none.

What it does: Finds twenty and more neighbouring rules that are the same but for their source, or
but for their destination.

Why it matters: Every packet is compared with each of them. An IP set is one rule and one lookup,
however many addresses it holds.

Example:
    *filter
    :INPUT ACCEPT [0:0]
    -A INPUT -s 192.0.2.1/32 -j DROP
    -A INPUT -s 192.0.2.2/32 -j DROP
    -A INPUT -s 192.0.2.3/32 -j DROP
    -A INPUT -s 192.0.2.4/32 -j DROP
    -A INPUT -s 192.0.2.5/32 -j DROP
    -A INPUT -s 192.0.2.6/32 -j DROP
    -A INPUT -s 192.0.2.7/32 -j DROP
    -A INPUT -s 192.0.2.8/32 -j DROP
    -A INPUT -s 192.0.2.9/32 -j DROP
    -A INPUT -s 192.0.2.10/32 -j DROP
    -A INPUT -s 192.0.2.11/32 -j DROP
    -A INPUT -s 192.0.2.12/32 -j DROP
    -A INPUT -s 192.0.2.13/32 -j DROP
    -A INPUT -s 192.0.2.14/32 -j DROP
    -A INPUT -s 192.0.2.15/32 -j DROP
    -A INPUT -s 192.0.2.16/32 -j DROP
    -A INPUT -s 192.0.2.17/32 -j DROP
    -A INPUT -s 192.0.2.18/32 -j DROP
    -A INPUT -s 192.0.2.19/32 -j DROP
    -A INPUT -s 192.0.2.20/32 -j DROP
    COMMIT

Use instead: `ipset create blocked hash:ip`, `ipset add blocked 192.0.2.1` and so on, then one rule
`-A INPUT -m set --match-set blocked src -j DROP`.

References: ipset(8).
"""

from __future__ import annotations

from collections.abc import Iterator

from netemu.lint.finding import Finding, Level
from netemu.lint.rule import LintRule
from netemu.lint.runs import address_runs
from netemu.lint.subject import Subject

LONG = 20
"""Rules; below, a list is still easy to read and quick to walk."""


def check(subject: Subject) -> Iterator[Finding]:
    """Yield a finding for each long run."""
    for side, run in address_runs(subject):
        if len(run) >= LONG:
            kind = "hash:ip" if all(one.whole for one in run) else "hash:net"
            last = run[-1].site
            yield subject.about(
                run[0].site,
                f"{len(run)} rules in a row (to line {last.rule.line}) differ only in {side}; "
                f"one rule with an IP set of type {kind} would do",
                related=subject.related(last.rule, "the last of them"),
            )


RULE = LintRule(
    code="NE601",
    name="long-address-run",
    level=Level.INFO,
    summary="Many rules in a row that differ in one address only",
    check=check,
    stylistic=True,
)
