"""A rule for a chain that is not declared.

Kernel: none.

What it does: Finds commands that name a chain for which no line `:NAME - [0:0]` stands before them
in the same table.

Why it matters: iptables-restore stops at the line. Chains belong to their table: a chain of filter
is unknown in nat.

Example:
    *filter
    :INPUT ACCEPT [0:0]
    -A web -p tcp --dport 80 -j ACCEPT
    COMMIT

Use instead:

    *filter
    :INPUT ACCEPT [0:0]
    :web - [0:0]
    -A INPUT -j web
    -A web -p tcp --dport 80 -j ACCEPT
    COMMIT

References: iptables-restore(8).
"""

from __future__ import annotations

from netemu.errors import Refusal
from netemu.lint.finding import Level
from netemu.lint.refused import refused
from netemu.lint.rule import LintRule, Needs

RULE = LintRule(
    code="NE007",
    name="missing-chain",
    level=Level.ERROR,
    summary="A rule for a chain that is not declared",
    check=refused(Refusal.CHAIN),
    needs=Needs.TEXT,
)
