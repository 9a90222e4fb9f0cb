"""Options that do not go together.

Kernel: none.

What it does: Finds rules in which an option is given twice, lacks one that must go with it, or
stands beside one that excludes it; matches that need another protocol; a `!` where there is no
inverse.

Why it matters: iptables-restore, or the kernel at COMMIT, refuses the rule.

Example:
    *filter
    :INPUT ACCEPT [0:0]
    -A INPUT -p udp -m multiport --dports 53,123 --sports 53 -j ACCEPT
    COMMIT

Use instead:

    *filter
    :INPUT ACCEPT [0:0]
    -A INPUT -p udp -m multiport --dports 53,123 -m multiport --sports 53 -j ACCEPT
    COMMIT

References: iptables-extensions(8); xtables_options_fcheck in xtoptions.c of iptables,
xt_check_match in net/netfilter/x_tables.c.
"""

from __future__ import annotations

from netemu.errors import Refusal
from netemu.lint.finding import Level
from netemu.lint.refused import refused
from netemu.lint.rule import LintRule, Needs

RULE = LintRule(
    code="NE005",
    name="bad-combination",
    level=Level.ERROR,
    summary="Options that do not go together",
    check=refused(Refusal.COMBINATION),
    needs=Needs.TEXT,
)
