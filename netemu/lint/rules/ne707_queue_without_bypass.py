"""Packets are dropped while no program reads the queue.

Kernel: none.

What it does: Finds NFQUEUE without --queue-bypass.

Why it matters: When the program that reads the queue is not running, every packet of the rule is
dropped: an update of an IDS takes the network down.

Example:
    *filter
    :INPUT ACCEPT [0:0]
    -A INPUT -p tcp --dport 80 -j NFQUEUE --queue-num 0
    COMMIT

Use instead:

    *filter
    :INPUT ACCEPT [0:0]
    -A INPUT -p tcp --dport 80 -j NFQUEUE --queue-num 0 --queue-bypass
    COMMIT

References: iptables-extensions(8), NFQUEUE.
"""

from __future__ import annotations

from collections.abc import Iterator

from netemu.lint.entering import entering_of, place_of
from netemu.lint.finding import Finding, Level
from netemu.lint.rule import LintRule
from netemu.lint.subject import Subject


def check(subject: Subject) -> Iterator[Finding]:
    """Yield a finding for each queue that must be read."""
    for site in subject.sites:
        target = site.rule.target
        if target is None or target.name != "NFQUEUE" or "--queue-bypass" in target.text:
            continue
        entering = entering_of(subject)
        witness = entering.shown(entering.taken(site), matched=[place_of(site)])
        if witness is not None:
            yield subject.about(
                site,
                "without --queue-bypass these packets are dropped while no program reads the queue",
                span=subject.option_span(site.rule, "-j", "--jump"),
                witness=witness,
            )


RULE = LintRule(
    code="NE707",
    name="queue-without-bypass",
    level=Level.INFO,
    summary="Packets are dropped while no program reads the queue",
    check=check,
)
