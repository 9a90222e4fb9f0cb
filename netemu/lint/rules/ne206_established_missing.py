"""No answer comes back under a DROP policy.

Kernel: none.

What it does: Finds node and device pairs of which connections are let out, and no answer to them is
let in: INPUT for what the node itself opens, FORWARD for what is opened through it.

Why it matters: Connections hang after their first packet. A rule for `--ctstate
RELATED,ESTABLISHED` is missing, or stands behind one that drops.

Example:
    *filter
    :INPUT DROP [0:0]
    :OUTPUT ACCEPT [0:0]
    -A INPUT -i lo -j ACCEPT
    -A INPUT -p tcp --dport 22 -j ACCEPT
    COMMIT

Use instead:

    *filter
    :INPUT DROP [0:0]
    :OUTPUT ACCEPT [0:0]
    -A INPUT -i lo -j ACCEPT
    -A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
    -A INPUT -p tcp --dport 22 -j ACCEPT
    COMMIT

References: iptables-extensions(8), conntrack.
"""

from __future__ import annotations

from collections.abc import Iterator

from netemu.analysis.bdd import EMPTY
from netemu.lint.entering import Entering, entering_of
from netemu.lint.finding import Finding, Level
from netemu.lint.rule import LintRule
from netemu.lint.subject import Subject
from netemu.netfilter.hook import Verdict
from netemu.netfilter.xtables.model import Chain, Table
from netemu.netfilter.xtables.space import CtState, Field
from netemu.wire.ipv4 import Protocol

EPHEMERAL = (40000, 60999)
"""Ports from which programs open connections (upper part of ip_local_port_range)."""
SYN_ACK = 0x12
MOST_DEVICES = 8
"""With more, nobody would read on."""


def check(subject: Subject) -> Iterator[Finding]:
    """Yield a finding for each built-in chain that keeps answers out."""
    table = subject.table("filter")
    if table is None:
        return
    incoming, forward = table.chains["INPUT"], table.chains["FORWARD"]
    if incoming.policy is Verdict.DROP and incoming.rules:
        yield from _input(subject, table, incoming)
    if forward.policy is Verdict.DROP and forward.rules:
        yield from _forward(subject, table, forward)


def _input(subject: Subject, table: Table, chain: Chain) -> Iterator[Finding]:
    entering = entering_of(subject)
    sent = entering.both(entering.accepted("local"), _opening(entering))
    here = entering.read.local(Field.DESTINATION)
    answers = entering.both(_answer(entering), entering.from_outside(), here)
    if sent == EMPTY or entering.meet(answers, entering.accepted("in")):
        return
    witness = entering.shown(_from_web(entering, answers), verdicts={"DROP", "REJECT"})
    if witness is not None:
        yield subject.about_chain(
            table,
            chain,
            "answers to what the node itself opens are dropped: no rule of INPUT accepts them",
            witness=witness,
        )


def _forward(subject: Subject, table: Table, chain: Chain) -> Iterator[Finding]:
    entering = entering_of(subject)
    forwarded = entering.accepted("forward")
    for inner in entering.devices()[:MOST_DEVICES]:
        back = entering.to_device(inner)
        opened = entering.both(
            forwarded,
            _opening(entering),
            entering.from_device(inner),
            entering.read.outside(back),
        )
        answers = entering.both(
            _answer(entering),
            entering.from_outside(),
            entering.read.outside(entering.from_device(inner)),
            back,
        )
        if opened == EMPTY or entering.meet(answers, forwarded):
            continue
        witness = entering.shown(_from_web(entering, answers), verdicts={"DROP", "REJECT"})
        if witness is not None:
            yield subject.about_chain(
                table,
                chain,
                f"connections that come in by {inner} are let through, and their answers are "
                "dropped: no rule of FORWARD accepts them",
                witness=witness,
            )
            return


def _opening(entering: Entering) -> int:
    """Return TCP packets that open a connection, from a port as programs get them."""
    return entering.both(
        entering.fresh(),
        entering.read.masked(Field.PROTOCOL, Protocol.TCP),
        entering.read.span(Field.SOURCE_PORT, *EPHEMERAL),
    )


def _answer(entering: Entering) -> int:
    """Return what the other end says to that."""
    return entering.both(
        entering.read.masked(Field.CT_STATE, CtState.ESTABLISHED),
        entering.read.masked(Field.CT_REPLY, 1),
        entering.read.masked(Field.CT_SNAT, 0),
        entering.read.masked(Field.CT_DNAT, 0),
        entering.to_port(Protocol.TCP, *EPHEMERAL),
        entering.read.masked(Field.TCP_FLAGS, SYN_ACK),
        entering.read.masked(Field.FRAGMENT, 0),
    )


def _from_web(entering: Entering, answers: int) -> int:
    """Return the answers of web servers, or all if there are none."""
    from_web = entering.both(answers, entering.read.masked(Field.SOURCE_PORT, 443))
    return answers if from_web == EMPTY else from_web


RULE = LintRule(
    code="NE206",
    name="established-missing",
    level=Level.WARNING,
    summary="No answer comes back under a DROP policy",
    check=check,
)
