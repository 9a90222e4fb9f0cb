"""A value that an option does not take.

Kernel: none.

What it does: Finds values out of range, of another kind, or malformed: ports, addresses, masks,
protocols, rates, names.

Why it matters: iptables-restore stops at the line.

Example:
    *filter
    :INPUT ACCEPT [0:0]
    -A INPUT -p tcp --dport 70000 -j ACCEPT
    COMMIT

Use instead:

    *filter
    :INPUT ACCEPT [0:0]
    -A INPUT -p tcp --dport 7000 -j ACCEPT
    COMMIT

References: iptables-extensions(8).
"""

from __future__ import annotations

from netemu.errors import Refusal
from netemu.lint.finding import Level
from netemu.lint.refused import refused
from netemu.lint.rule import LintRule, Needs

RULE = LintRule(
    code="NE004",
    name="bad-value",
    level=Level.ERROR,
    summary="A value that an option does not take",
    check=refused(Refusal.VALUE),
    needs=Needs.TEXT,
)
