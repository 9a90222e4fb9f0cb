"""A table that does not end with COMMIT.

Kernel: none.

What it does: Finds tables behind which the file ends, or another table begins, without a line
`COMMIT`.

Why it matters: iptables-restore does not load the table.

Example:
    *filter
    :INPUT ACCEPT [0:0]
    -A INPUT -i lo -j ACCEPT

Use instead:

    *filter
    :INPUT ACCEPT [0:0]
    -A INPUT -i lo -j ACCEPT
    COMMIT

References: iptables-restore(8).
"""

from __future__ import annotations

from netemu.errors import Refusal
from netemu.lint.finding import Level
from netemu.lint.refused import refused
from netemu.lint.rule import LintRule, Needs

RULE = LintRule(
    code="NE014",
    name="missing-commit",
    level=Level.ERROR,
    summary="A table that does not end with COMMIT",
    check=refused(Refusal.COMMIT),
    needs=Needs.TEXT,
)
