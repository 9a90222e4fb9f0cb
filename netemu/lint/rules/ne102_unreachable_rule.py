"""A rule behind one that takes every packet.

Kernel: none; ipt_do_table ends or leaves the chain at a rule that matches and decides.

What it does: Finds rules behind an earlier rule of their chain that asks for nothing and lets no
packet go on.

Why it matters: Nothing behind it ever happens, however right it is. Rules appended with `-A` to a
chain that ends with `-j DROP` or `-j REJECT` all end up there.

Example:
    *filter
    :INPUT ACCEPT [0:0]
    -A INPUT -i lo -j ACCEPT
    -A INPUT -j DROP
    -A INPUT -p tcp -m tcp --dport 443 -j ACCEPT
    COMMIT

Use instead:

    *filter
    :INPUT ACCEPT [0:0]
    -A INPUT -i lo -j ACCEPT
    -A INPUT -p tcp -m tcp --dport 443 -j ACCEPT
    -A INPUT -j DROP
    COMMIT

References: iptables(8), `-I` and `-A`.
"""

from __future__ import annotations

from collections.abc import Iterator

from netemu.lint.dead import Why
from netemu.lint.finding import Finding, Level
from netemu.lint.reach_findings import finding_of, lines_text
from netemu.lint.rule import LintRule
from netemu.lint.subject import Subject


def check(subject: Subject) -> Iterator[Finding]:
    """Yield a finding for each rule behind one that takes all."""
    for dead in subject.dead:
        if dead.why is Why.CUT_OFF:
            found = finding_of(
                subject,
                dead,
                f"no packet comes to this rule: {lines_text(dead.by)} takes every packet",
            )
            if found is not None:
                yield found


RULE = LintRule(
    code="NE102",
    name="unreachable-rule",
    level=Level.WARNING,
    summary="An earlier rule takes every packet of the chain",
    check=check,
)
