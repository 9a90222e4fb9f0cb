"""A command that cannot be carried out.

Kernel: none.

What it does: Finds commands of a restore file that iptables-restore cannot carry out there:
deleting a chain in use, a rule number that is too big, options of the command line such as -t and
-h.

Why it matters: iptables-restore stops at the line.

Example:
    *filter
    :INPUT ACCEPT [0:0]
    -A INPUT -j ACCEPT
    -D INPUT 2
    COMMIT

Use instead:

    *filter
    :INPUT ACCEPT [0:0]
    -A INPUT -j ACCEPT
    -D INPUT 1
    COMMIT

References: iptables-restore(8); libiptc.c of iptables.
"""

from __future__ import annotations

from netemu.errors import Refusal
from netemu.lint.finding import Level
from netemu.lint.refused import refused
from netemu.lint.rule import LintRule, Needs

RULE = LintRule(
    code="NE016",
    name="refused-command",
    level=Level.ERROR,
    summary="A command that cannot be carried out",
    check=refused(Refusal.COMMAND),
    needs=Needs.TEXT,
)
