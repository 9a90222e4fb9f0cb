"""Chains that lead back to themselves.

Kernel: none.

What it does: Finds the rule that closes a circle of jumps which a packet could enter, and in
nftables ways through more than 16 chains.

Why it matters: `iptables-restore --test` says nothing; loading fails with `Too many levels of
symbolic links`.

Example:
    *filter
    :INPUT ACCEPT [0:0]
    :a - [0:0]
    :b - [0:0]
    -A INPUT -j a
    -A a -j b
    -A b -j a
    COMMIT

Use instead:

    *filter
    :INPUT ACCEPT [0:0]
    :a - [0:0]
    :b - [0:0]
    -A INPUT -j a
    -A a -j b
    -A b -j RETURN
    COMMIT

References: mark_source_chains in net/ipv4/netfilter/ip_tables.c, nft_chain_validate in
net/netfilter/nf_tables_api.c.
"""

from __future__ import annotations

from netemu.errors import Refusal
from netemu.lint.finding import Level
from netemu.lint.refused import refused
from netemu.lint.rule import LintRule, Needs

RULE = LintRule(
    code="NE013",
    name="jump-loop",
    level=Level.ERROR,
    summary="Chains that lead back to themselves",
    check=refused(Refusal.LOOP),
    needs=Needs.TEXT,
)
