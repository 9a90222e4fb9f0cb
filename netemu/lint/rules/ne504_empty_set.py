"""A rule asks an IP set that is empty and that no rule fills.

Kernel: none.

What it does: Finds --match-set of a set without elements, unless a rule adds to it or its elements
time out.

Why it matters: The rule does nothing (with `!`, it takes everything) until a program fills the set.

Example:
    *filter
    :INPUT ACCEPT [0:0]
    -A INPUT -m set --match-set blocked src -j DROP
    COMMIT

Use instead: fill the set, or leave the rule out.

References: ipset(8).
"""

from __future__ import annotations

from collections.abc import Iterator

from netemu.lint.finding import Finding, Level
from netemu.lint.rule import LintRule
from netemu.lint.sets import references, sets_of
from netemu.lint.subject import Subject
from netemu.netfilter.ipset.extension import Extension


def check(subject: Subject) -> Iterator[Finding]:
    """Yield a finding for each set that nothing is in."""
    sets = sets_of(subject) or {}
    if not sets:
        return
    used = [one for sibling in subject.siblings for one in references(sibling)]
    filled = {one.name for one in used if one.option in {"add-set", "map-set"}}
    for one in references(subject):
        found = sets.get(one.name)
        if found is None or one.option != "match-set" or one.name in filled:
            continue
        if not found.content.elements and not found.extensions & Extension.TIMEOUT:
            span = subject.option_span(one.site.rule, f"--{one.option}")
            yield subject.about(one.site, f"the set {one.name} is empty", span=span)


RULE = LintRule(
    code="NE504",
    name="empty-set",
    level=Level.INFO,
    summary="A rule asks an IP set that is empty and that no rule fills",
    check=check,
)
