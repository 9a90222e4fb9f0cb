"""A policy that cannot be set.

Kernel: none.

What it does: Finds policies other than ACCEPT and DROP of built-in chains, and any but `-` of user
chains.

Why it matters: iptables-restore stops at the line. There is no policy REJECT: a last rule `-j
REJECT` does that.

Example:
    *filter
    :INPUT REJECT [0:0]
    COMMIT

Use instead:

    *filter
    :INPUT DROP [0:0]
    -A INPUT -j REJECT
    COMMIT

References: iptables(8), -P.
"""

from __future__ import annotations

from netemu.errors import Refusal
from netemu.lint.finding import Level
from netemu.lint.refused import refused
from netemu.lint.rule import LintRule, Needs

RULE = LintRule(
    code="NE011",
    name="bad-policy",
    level=Level.ERROR,
    summary="A policy that cannot be set",
    check=refused(Refusal.POLICY),
    needs=Needs.TEXT,
)
