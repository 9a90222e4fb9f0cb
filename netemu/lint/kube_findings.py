"""Findings about Services: what a packet shows, or nothing.

Kernel: none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from netemu.kube.check.fault import Claim, Place, Probe, Saying
from netemu.lint.finding import Finding, Related
from netemu.lint.subject import Subject


def told(
    subject: Subject,
    place: Place,
    message: str,
    claim: Claim,
    probes: Iterable[Probe],
    related: tuple[Related, ...] = (),
) -> Iterator[Finding]:
    """Yield a finding about a rule, or with number 0 about a chain, if a packet shows it."""
    if place.table == "nat" and place.chain in subject.kube.covered:
        return
    shown, witness = subject.kube.tried(claim, probes)
    if not shown:
        return
    rules = subject.kube.rules
    line = rules.line(place.table, place.chain)
    if place.rule:
        line = rules.rules(place.table, place.chain)[place.rule - 1].line or 0
    yield Finding(
        message=message,
        span=subject.line_span(line) if line else None,
        table=place.table,
        chain=place.chain,
        rule=place.rule or None,
        witness=witness,
        related=related,
    )


def nat(chain: str, rule: int = 0) -> Place:
    """Return a place in the nat table."""
    return Place(table="nat", chain=chain, rule=rule)


def meets(place: Place) -> Claim:
    """Return the claim that a packet meets a rule, or a rule of a chain."""
    return Claim(saying=Saying.MEETS, place=place)
