"""Neighbouring rules that are the same but for one value.

Kernel: none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from netemu.lint.subject import Site, Subject
from netemu.netfilter.xtables.addresses import show_network
from netemu.netfilter.xtables.model import Chain, Invert, Rule, Table

_PORT = re.compile(r"(?<=-m (?:tcp|udp) )--dport (\d+(?::\d+)?)(?= |$)")


class Member(NamedTuple):
    """A rule of a run."""

    site: Site
    value: str
    """That in which it differs from the others."""
    whole: bool
    """The value is one address, not a network."""


def address_runs(subject: Subject) -> Iterator[tuple[str, list[Member]]]:
    """Yield runs of rules that differ in their source or destination only, longest first."""
    for table, chain in _chains(subject):
        for side in ("source", "destination"):
            yield from ((side, run) for run in _runs(table, chain, side))


def port_runs(subject: Subject) -> Iterator[list[Member]]:
    """Yield runs of rules that differ in their destination port only."""
    for table, chain in _chains(subject):
        yield from _runs(table, chain, "port")


def _chains(subject: Subject) -> Iterator[tuple[Table, Chain]]:
    for table in subject.ruleset.tables:
        for chain in table.chains.values():
            if len(chain.rules) > 1:
                yield table, chain


def _runs(table: Table, chain: Chain, side: str) -> Iterator[list[Member]]:
    run: list[Member] = []
    common = ""
    for number, rule in enumerate(chain.rules, start=1):
        parts = _parts(rule, side)
        if parts is None or parts[1] != common or parts[0] in {one.value for one in run[-1:]}:
            if len(run) > 1:
                yield run
            run = []
        if parts is not None:
            value, common, whole = parts
            run.append(Member(Site(table, chain, number, rule), value, whole))
    if len(run) > 1:
        yield run


def _parts(rule: Rule, side: str) -> tuple[str, str, bool] | None:
    """Return a rule's value and the rest of its text; None if it has no such value."""
    if side == "port":
        found = _PORT.findall(rule.text)
        if len(found) != 1:
            return None
        return found[0], _PORT.sub("--dport", rule.text), True
    generic = rule.generic
    if side == "source":
        address, mask, letter, flag = generic.source, generic.source_mask, "-s", Invert.SRCIP
    else:
        address, mask, letter = generic.destination, generic.destination_mask, "-d"
        flag = Invert.DSTIP
    if not mask or generic.invert & flag or any(match.name == "set" for match in rule.matches):
        return None
    value = show_network(address, mask)
    rest = rule.text.replace(f"{letter} {value}", letter, 1)
    return value, _without_comment(rest), all(octet == 0xFF for octet in mask)


_COMMENT = re.compile(r'-m comment --comment (?:"(?:[^"\\]|\\.)*"|\S+) ?')


def _without_comment(text: str) -> str:
    return _COMMENT.sub("", text)
