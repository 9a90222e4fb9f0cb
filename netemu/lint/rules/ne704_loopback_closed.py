"""What the node sends to itself is dropped.

Kernel: none.

What it does: Finds rule sets whose INPUT drops by policy and which let no new connection to
127.0.0.1 through.

Why it matters: Programs talk to each other over lo: resolvers, databases, mail. They wait for a
time-out instead.

Example:
    *filter
    :INPUT DROP [0:0]
    -A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
    -A INPUT -p tcp --dport 22 -j ACCEPT
    COMMIT

Use instead:

    *filter
    :INPUT DROP [0:0]
    -A INPUT -i lo -j ACCEPT
    -A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
    -A INPUT -p tcp --dport 22 -j ACCEPT
    COMMIT

References: iptables-extensions(8).
"""

from __future__ import annotations

from collections.abc import Iterator

from netemu.analysis.bdd import EMPTY
from netemu.lint.entering import entering_of
from netemu.lint.finding import Finding, Level
from netemu.lint.rule import LintRule
from netemu.lint.subject import Subject
from netemu.netfilter.hook import Family, Verdict
from netemu.netfilter.xtables.space import Field
from netemu.wire.ipv4 import Protocol

LOOPBACK = bytes((127, 0, 0, 1))
PORT = 40025
"""Any port that no rule is likely to name: programs of one host talk to each other at any."""


def check(subject: Subject) -> Iterator[Finding]:
    """Yield a finding where nothing comes in by lo."""
    table = subject.table("filter")
    if subject.family is not Family.IPV4 or table is None:
        return
    chain = table.chains["INPUT"]
    if chain.policy is not Verdict.DROP or not chain.rules:
        return
    entering = entering_of(subject)
    packets = entering.both(
        entering.any,
        entering.from_node(),
        entering.to_device("lo"),
        entering.prefix(Field.SOURCE, LOOPBACK, 32),
        entering.prefix(Field.DESTINATION, LOOPBACK, 32),
        entering.fresh(),
    )
    sent = entering.both(packets, entering.to_port(Protocol.TCP, PORT))
    if sent == EMPTY or entering.meet(sent, entering.accepted("loop")):
        return
    witness = entering.shown(sent, verdicts={"DROP", "REJECT"})
    if witness is not None:
        yield subject.about_chain(
            table,
            chain,
            "what the node sends to itself is dropped; `-A INPUT -i lo -j ACCEPT` would let it in",
            witness=witness,
        )


RULE = LintRule(
    code="NE704",
    name="loopback-closed",
    level=Level.WARNING,
    summary="What the node sends to itself is dropped",
    check=check,
)
