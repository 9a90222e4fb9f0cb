"""A name that no chain or extension can have.

Kernel: none.

What it does: Finds names that are too long (28 octets at most), begin with `-` or `!`, hold blanks,
or are those of a target.

Why it matters: iptables-restore stops at the line.

Example:
    *filter
    :INPUT ACCEPT [0:0]
    :a-chain-whose-name-is-far-too-long - [0:0]
    COMMIT

Use instead:

    *filter
    :INPUT ACCEPT [0:0]
    :a-chain-of-moderate-length - [0:0]
    -A INPUT -j a-chain-of-moderate-length
    -A a-chain-of-moderate-length -j ACCEPT
    COMMIT

References: XT_EXTENSION_MAXNAMELEN in include/uapi/linux/netfilter/x_tables.h.
"""

from __future__ import annotations

from netemu.errors import Refusal
from netemu.lint.finding import Level
from netemu.lint.refused import refused
from netemu.lint.rule import LintRule, Needs

RULE = LintRule(
    code="NE010",
    name="bad-chain-name",
    level=Level.ERROR,
    summary="A name that no chain or extension can have",
    check=refused(Refusal.NAME),
    needs=Needs.TEXT,
)
