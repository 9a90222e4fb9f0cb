"""A line that is no command.

Kernel: none.

What it does: Finds lines whose words iptables-restore cannot take for a command: a word that is no
option, a `!` too many, an option without its value, counters or chain lines that are malformed.

Why it matters: iptables-restore stops there, and loads nothing of the table.

Example:
    *filter
    :INPUT ACCEPT [0:0]
    -A INPUT -p tcp dport 22 -j ACCEPT
    COMMIT

Use instead:

    *filter
    :INPUT ACCEPT [0:0]
    -A INPUT -p tcp --dport 22 -j ACCEPT
    COMMIT

References: iptables-restore(8); do_parse in xshared.c of iptables.
"""

from __future__ import annotations

from netemu.errors import Refusal
from netemu.lint.finding import Level
from netemu.lint.refused import refused
from netemu.lint.rule import LintRule, Needs

RULE = LintRule(
    code="NE001",
    name="syntax-error",
    level=Level.ERROR,
    summary="A line that is no command",
    check=refused(Refusal.SYNTAX),
    needs=Needs.TEXT,
)
