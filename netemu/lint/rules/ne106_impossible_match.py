"""A rule that asks for what no packet of its chain has.

Kernel: none.

What it does: Finds rules whose parts exclude each other, or what is known of the packets that come
to their chain: those who jump there send others, the hook sees none such, or conntrack never says
so.

Why it matters: The rule never does anything. Most often a `!` is missing or one too many, or two
port lists were meant as alternatives.

Example:
    *filter
    :INPUT ACCEPT [0:0]
    :web - [0:0]
    -A INPUT -p tcp -m tcp --dport 80 -j web
    -A web -p tcp -m tcp --dport 443 -j ACCEPT
    -A web -j DROP
    COMMIT

Use instead:

    *filter
    :INPUT ACCEPT [0:0]
    :web - [0:0]
    -A INPUT -p tcp -m multiport --dports 80,443 -j web
    -A web -p tcp -m tcp --dport 443 -j ACCEPT
    -A web -j DROP
    COMMIT

References: Al-Shaer and Hamed, "Discovery of Policy Anomalies in Distributed Firewalls", 2004
(irrelevance).
"""

from __future__ import annotations

from collections.abc import Iterator

from netemu.analysis.reach import RuleReach
from netemu.lint.dead import Why
from netemu.lint.finding import Finding, Level
from netemu.lint.reach_findings import finding_of
from netemu.lint.rule import LintRule
from netemu.lint.subject import Subject


def check(subject: Subject) -> Iterator[Finding]:
    """Yield a finding for each rule that fits no packet of its chain."""
    for dead in subject.dead:
        if dead.why is Why.IMPOSSIBLE and not _is_harmless(dead.rule):
            found = finding_of(
                subject,
                dead,
                f"no packet that comes to chain {dead.rule.chain.name} is what this rule asks for",
            )
            if found is not None:
                yield found


def _is_harmless(rule: RuleReach) -> bool:
    """Return whether a rule of FORWARD accepts what comes from the node itself: many write that."""
    assert rule.rule is not None
    return rule.chain.name == "FORWARD" and rule.rule.text == "-i lo -j ACCEPT"


RULE = LintRule(
    code="NE106",
    name="impossible-match",
    level=Level.WARNING,
    summary="A rule asks for what no packet of its chain has",
    check=check,
    stylistic=True,
)
