"""A jump to what is neither a chain nor a target.

Kernel: none.

What it does: Finds -j and -g with a name that no chain of the table and no target of iptables has,
and jumps to a built-in chain.

Why it matters: iptables-restore stops at the line; `iptables-nft-restore --test` may say nothing,
and loading fails.

Example:
    *filter
    :INPUT ACCEPT [0:0]
    -A INPUT -p tcp --dport 80 -j web
    COMMIT

Use instead:

    *filter
    :INPUT ACCEPT [0:0]
    :web - [0:0]
    -A INPUT -p tcp --dport 80 -j web
    -A web -j ACCEPT
    COMMIT

References: iptables(8), TARGETS.
"""

from __future__ import annotations

from netemu.errors import Refusal
from netemu.lint.finding import Level
from netemu.lint.refused import refused
from netemu.lint.rule import LintRule, Needs

RULE = LintRule(
    code="NE008",
    name="missing-target",
    level=Level.ERROR,
    summary="A jump to what is neither a chain nor a target",
    check=refused(Refusal.JUMP),
    needs=Needs.TEXT,
)
