"""A match that nobody knows.

Kernel: none.

What it does: Finds -m with a name that is no match of iptables 1.8.9 for this address family.

Why it matters: iptables-restore stops at the line. Where the machine has a module from elsewhere
(xtables-addons), say so with a suppression; what the rule does is then not looked at.

Example:
    *filter
    :INPUT ACCEPT [0:0]
    -A INPUT -m contrack --ctstate INVALID -j DROP
    COMMIT

Use instead:

    *filter
    :INPUT ACCEPT [0:0]
    -A INPUT -m conntrack --ctstate INVALID -j DROP
    COMMIT

References: iptables-extensions(8).
"""

from __future__ import annotations

from netemu.errors import Refusal
from netemu.lint.finding import Level
from netemu.lint.refused import refused
from netemu.lint.rule import LintRule, Needs

RULE = LintRule(
    code="NE002",
    name="unknown-extension",
    level=Level.ERROR,
    summary="A match that nobody knows",
    check=refused(Refusal.EXTENSION),
    needs=Needs.TEXT,
)
