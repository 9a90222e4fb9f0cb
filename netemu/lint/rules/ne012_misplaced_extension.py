"""A match or target that is not for this table or hook.

Kernel: none.

What it does: Finds matches and targets in a table, or reached from a hook, for which the kernel
does not take them, and -i or -o where there is no such device.

Why it matters: `iptables-restore --test` says nothing; loading fails with `Invalid argument`, and
legacy names only the COMMIT line.

Example:
    *filter
    :FORWARD ACCEPT [0:0]
    -A FORWARD -p tcp --dport 80 -j DNAT --to-destination 10.0.0.2
    COMMIT

Use instead:

    *nat
    :PREROUTING ACCEPT [0:0]
    -A PREROUTING -i eth0 -p tcp --dport 80 -j DNAT --to-destination 10.0.0.2
    COMMIT

References: xt_check_match and xt_check_target in net/netfilter/x_tables.c.
"""

from __future__ import annotations

from netemu.errors import Refusal
from netemu.lint.finding import Level
from netemu.lint.refused import refused
from netemu.lint.rule import LintRule, Needs

RULE = LintRule(
    code="NE012",
    name="misplaced-extension",
    level=Level.ERROR,
    summary="A match or target that is not for this table or hook",
    check=refused(Refusal.PLACE),
    needs=Needs.TEXT,
)
