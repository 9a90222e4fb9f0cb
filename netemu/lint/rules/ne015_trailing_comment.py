"""A comment that does not begin its line.

Kernel: none.

What it does: Finds `#` behind a rule, or indented.

Why it matters: iptables-restore takes `#` for a comment in column 1 only, and stops with ``Bad
argument `#'``.

Example:
    *filter
    :INPUT ACCEPT [0:0]
    -A INPUT -p tcp --dport 22 -j ACCEPT # ssh
    COMMIT

Use instead:

    *filter
    :INPUT ACCEPT [0:0]
    # ssh
    -A INPUT -p tcp --dport 22 -j ACCEPT
    COMMIT

References: iptables_restore_main in iptables-restore.c.
"""

from __future__ import annotations

from netemu.errors import Refusal
from netemu.lint.finding import Level
from netemu.lint.refused import refused
from netemu.lint.rule import LintRule, Needs

RULE = LintRule(
    code="NE015",
    name="trailing-comment",
    level=Level.ERROR,
    summary="A comment that does not begin its line",
    check=refused(Refusal.COMMENT),
    needs=Needs.TEXT,
)
