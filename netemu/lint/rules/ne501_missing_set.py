"""A rule names an IP set that does not exist.

Kernel: none.

What it does: Finds --match-set, --add-set, --del-set and --map-set with a name that no set of the
node has. The sets are those of a node snapshot or of --ipset FILE; without them nothing is said.

Why it matters: The kernel refuses the rule: `Set absent doesn't exist`. At boot the sets must be
restored before the rules.

Example:
    *filter
    :INPUT ACCEPT [0:0]
    -A INPUT -m set --match-set absent src -j DROP
    COMMIT

Use instead: `ipset create absent hash:ip` before the rules are loaded.

References: ipset(8); iptables-extensions(8), set.
"""

from __future__ import annotations

from collections.abc import Iterator

from netemu.lint.finding import Finding, Level
from netemu.lint.rule import LintRule, Needs
from netemu.lint.sets import missing_sets
from netemu.lint.subject import Subject


def check(subject: Subject) -> Iterator[Finding]:
    """Yield a finding for each reference to nothing."""
    for one in missing_sets(subject):
        span = subject.option_span(one.site.rule, f"--{one.option}")
        yield subject.about(one.site, f"Set {one.name} doesn't exist", span=span)


RULE = LintRule(
    code="NE501",
    name="missing-set",
    level=Level.ERROR,
    summary="A rule names an IP set that does not exist",
    check=check,
    needs=Needs.TEXT,
)
