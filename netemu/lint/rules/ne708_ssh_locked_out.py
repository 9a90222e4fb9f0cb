"""Nobody can open an SSH connection to the node.

Kernel: none.

What it does: Finds rule sets that let in new connections to some port, but to port 22 from nowhere;
and such as let nothing in, not even packets of connections that there are.

Why it matters: Whoever loads the file over SSH may have locked the door behind. Not so if SSH
listens at another port, or the node is reached otherwise.

Example:
    *filter
    :INPUT DROP [0:0]
    -A INPUT -i lo -j ACCEPT
    -A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
    -A INPUT -p tcp --dport 443 -j ACCEPT
    COMMIT

Use instead: a rule that lets SSH in from where you are, `-A INPUT -s 192.0.2.0/24 -p tcp --dport 22
-j ACCEPT`, and iptables-apply(8) to load the file.

References: iptables-apply(8).
"""

from __future__ import annotations

from collections.abc import Iterator

from netemu.analysis.bdd import EMPTY
from netemu.lint.entering import entering_of
from netemu.lint.finding import Finding, Level
from netemu.lint.rule import LintRule
from netemu.lint.subject import Subject
from netemu.netfilter.hook import Family
from netemu.netfilter.xtables.space import CtState, Field
from netemu.wire.ipv4 import Protocol

SSH = 22
PRIVILEGED = (1, 1023)
OTHERS = (2000, 9999)
"""Where SSH listens if it listens elsewhere."""


def check(subject: Subject) -> Iterator[Finding]:
    """Yield a finding where other services may be used, and SSH may not."""
    table = subject.table("filter")
    if subject.family is not Family.IPV4 or table is None:
        return
    chain = table.chains["INPUT"]
    if not chain.rules:
        return
    entering = entering_of(subject)
    fresh = entering.both(
        entering.fresh(), entering.from_outside(), entering.read.local(Field.DESTINATION)
    )
    let_in = entering.both(fresh, entering.accepted("in"))
    usual = entering.meet(let_in, entering.to_port(Protocol.TCP, *PRIVILEGED))
    other = entering.meet(let_in, entering.to_port(Protocol.TCP, *OTHERS))
    wanted = entering.both(fresh, entering.to_port(Protocol.TCP, SSH))
    going_on = entering.meet(
        entering.accepted("in"),
        entering.read.masked(Field.CT_STATE, CtState.ESTABLISHED),
        entering.to_port(Protocol.TCP, SSH),
    )
    if other or wanted == EMPTY or entering.meet(let_in, wanted) or (going_on and not usual):
        return
    witness = entering.shown(wanted, verdicts={"DROP", "REJECT"})
    if witness is not None:
        yield subject.about_chain(
            table,
            chain,
            "new connections to port 22 are let in from nowhere; over SSH, this file locks you out",
            witness=witness,
        )


RULE = LintRule(
    code="NE708",
    name="ssh-locked-out",
    level=Level.INFO,
    summary="Nobody can open an SSH connection to the node",
    check=check,
)
