"""A `!` behind its option.

Kernel: none.

What it does: Finds `--option ! value`, as iptables took it before 1.4.3.

Why it matters: iptables-restore stops at the line: the `!` is taken for the value.

Example:
    *filter
    :INPUT ACCEPT [0:0]
    -A INPUT -s ! 192.0.2.0/24 -j ACCEPT
    COMMIT

Use instead:

    *filter
    :INPUT ACCEPT [0:0]
    -A INPUT ! -s 192.0.2.0/24 -j ACCEPT
    COMMIT

References: iptables(8).
"""

from __future__ import annotations

from netemu.errors import Refusal
from netemu.lint.finding import Level
from netemu.lint.refused import refused
from netemu.lint.rule import LintRule, Needs

RULE = LintRule(
    code="NE017",
    name="intrapositioned-negation",
    level=Level.ERROR,
    summary="A `!` behind its option",
    check=refused(Refusal.INVERSION),
    needs=Needs.TEXT,
)
