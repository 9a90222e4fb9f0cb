"""A rule gives an IP set too few directions.

Kernel: none.

What it does: Finds --match-set with fewer of src and dst than the set's type has parts:
hash:ip,port needs two.

Why it matters: The kernel takes the rule and it never matches (with `!`, always).

Example:
    *filter
    :INPUT ACCEPT [0:0]
    -A INPUT -m set --match-set services dst -j ACCEPT
    COMMIT

Use instead: `--match-set services dst,dst` for a set of type hash:ip,port.

References: ip_set_test in net/netfilter/ipset/ip_set_core.c.
"""

from __future__ import annotations

from collections.abc import Iterator

from netemu.lint.finding import Finding, Level
from netemu.lint.rule import LintRule
from netemu.lint.sets import references, sets_of
from netemu.lint.subject import Subject


def check(subject: Subject) -> Iterator[Finding]:
    """Yield a finding for each reference that is too short."""
    sets = sets_of(subject) or {}
    for one in references(subject):
        found = sets.get(one.name)
        if found is not None and 0 < one.directions < found.type.dimension:
            span = subject.option_span(one.site.rule, f"--{one.option}")
            yield subject.about(
                one.site,
                f"{one.name} is of type {found.type.name}, which needs {found.type.dimension} of "
                f"src and dst; the rule gives {one.directions} and never finds anything",
                span=span,
            )


RULE = LintRule(
    code="NE502",
    name="wrong-set-dimension",
    level=Level.ERROR,
    summary="A rule gives an IP set too few directions",
    check=check,
)
