"""A rule of one address family names an IP set of the other.

Kernel: none.

What it does: Finds rules of IPv4 that name a set of family inet6, and the other way round.

Why it matters: The kernel takes the rule and it never matches (with `!`, always).

Example:
    *filter
    :INPUT ACCEPT [0:0]
    -A INPUT -m set --match-set blocked6 src -j DROP
    COMMIT

Use instead: one set for each family, `create blocked6 hash:ip family inet6`.

References: ip_set_test in net/netfilter/ipset/ip_set_core.c.
"""

from __future__ import annotations

from collections.abc import Iterator

from netemu.lint.finding import Finding, Level
from netemu.lint.rule import LintRule
from netemu.lint.sets import references, sets_of
from netemu.lint.subject import Subject
from netemu.netfilter.hook import Family

_NAMES = {Family.IPV4: "inet", Family.IPV6: "inet6"}


def check(subject: Subject) -> Iterator[Finding]:
    """Yield a finding for each reference that cannot match."""
    sets = sets_of(subject) or {}
    for one in references(subject):
        found = sets.get(one.name)
        if found is not None and found.family not in {None, subject.family}:
            assert found.family is not None
            span = subject.option_span(one.site.rule, f"--{one.option}")
            yield subject.about(
                one.site,
                f"{one.name} is of family {_NAMES[found.family]}; a rule of "
                f"{_NAMES[subject.family]} never finds anything in it",
                span=span,
            )


RULE = LintRule(
    code="NE503",
    name="set-family-mismatch",
    level=Level.ERROR,
    summary="A rule of one address family names an IP set of the other",
    check=check,
)
