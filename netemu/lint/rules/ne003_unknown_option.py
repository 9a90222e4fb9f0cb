"""An option that nobody knows.

Kernel: none.

What it does: Finds options that neither iptables itself nor a match or target named before them
knows.

Why it matters: iptables-restore stops at the line. Often the match is missing that has the option,
or stands behind it: `--dport` needs `-p tcp` or `-p udp` before it.

Example:
    *filter
    :INPUT ACCEPT [0:0]
    -A INPUT --dport 22 -p tcp -j ACCEPT
    COMMIT

Use instead:

    *filter
    :INPUT ACCEPT [0:0]
    -A INPUT -p tcp --dport 22 -j ACCEPT
    COMMIT

References: iptables-extensions(8); command_default in xshared.c of iptables.
"""

from __future__ import annotations

from netemu.errors import Refusal
from netemu.lint.finding import Level
from netemu.lint.refused import refused
from netemu.lint.rule import LintRule, Needs

RULE = LintRule(
    code="NE003",
    name="unknown-option",
    level=Level.ERROR,
    summary="An option that nobody knows",
    check=refused(Refusal.OPTION),
    needs=Needs.TEXT,
)
