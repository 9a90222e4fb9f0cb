"""A chain that is declared twice.

Kernel: none.

What it does: Finds a second declaration of a user chain in one table.

Why it matters: iptables-legacy-restore stops at the line; iptables-nft-restore empties the chain,
and loses the rules before it.

Example:
    *filter
    :INPUT ACCEPT [0:0]
    :web - [0:0]
    :web - [0:0]
    -A INPUT -j web
    -A web -j ACCEPT
    COMMIT

Use instead:

    *filter
    :INPUT ACCEPT [0:0]
    :web - [0:0]
    -A INPUT -j web
    -A web -j ACCEPT
    COMMIT

References: iptables-restore(8).
"""

from __future__ import annotations

from netemu.errors import Refusal
from netemu.lint.finding import Level
from netemu.lint.refused import refused
from netemu.lint.rule import LintRule, Needs

RULE = LintRule(
    code="NE009",
    name="duplicate-chain",
    level=Level.ERROR,
    summary="A chain that is declared twice",
    check=refused(Refusal.DUPLICATE),
    needs=Needs.TEXT,
)
