"""A table that does not exist.

Kernel: none.

What it does: Finds `*NAME` lines with a name that is no table of iptables, and lines that stand in
no table.

Why it matters: iptables-restore stops there. The tables are filter, nat, mangle, raw and security.

Example:
    *fliter
    :INPUT ACCEPT [0:0]
    COMMIT

Use instead:

    *filter
    :INPUT ACCEPT [0:0]
    COMMIT

References: iptables(8), TABLES.
"""

from __future__ import annotations

from netemu.errors import Refusal
from netemu.lint.finding import Level
from netemu.lint.refused import refused
from netemu.lint.rule import LintRule, Needs

RULE = LintRule(
    code="NE006",
    name="missing-table",
    level=Level.ERROR,
    summary="A table that does not exist",
    check=refused(Refusal.TABLE),
    needs=Needs.TEXT,
)
