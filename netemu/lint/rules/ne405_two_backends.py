"""Rules of iptables-legacy and of iptables-nft act together.

Kernel: none.

What it does: Finds nodes on which both backends hold rules, and nodes on which native nftables
tables act beside iptables.

Why it matters: The kernel runs all of them, one after another: a packet must pass each, and either
tool shows half of the truth.

Example:
    # iptables-legacy-save_-c
    -A INPUT -p tcp --dport 22 -j ACCEPT
    # iptables-nft-save_-c
    -A INPUT -j DROP

Use instead: one backend: `update-alternatives --config iptables`, then flush the other.

References: nf_hook_slow in net/netfilter/core.c; iptables-nft(8).
"""

from __future__ import annotations

from collections.abc import Iterator

from netemu.lint.finding import Finding, Level
from netemu.lint.rule import LintRule, Needs
from netemu.lint.subject import Subject


def check(subject: Subject) -> Iterator[Finding]:
    """Yield a finding for each pair that acts together."""
    if len(subject.backends) > 1:
        names = " and ".join(f"iptables-{name}" for name in subject.backends)
        yield Finding(message=f"{names} both hold rules, and packets must pass both")
    if subject.native_tables and subject.backends:
        names = ", ".join(subject.native_tables)
        yield Finding(message=f"nftables' own tables act beside iptables' rules: {names}")


RULE = LintRule(
    code="NE405",
    name="two-backends",
    level=Level.WARNING,
    summary="Rules of iptables-legacy and of iptables-nft act together",
    check=check,
    needs=Needs.NODE,
)
