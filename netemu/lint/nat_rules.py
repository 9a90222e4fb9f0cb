"""Rules that translate addresses, as lint rules look at them.

Kernel: none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from netemu.lint.subject import Site, Subject
from netemu.wire.address import parse_address

_TO = re.compile(r"--to-(?P<what>destination|source) (?P<low>[0-9.]+)(?:-(?P<high>[0-9.]+))?")
DESTINATION = frozenset({"DNAT", "REDIRECT"})
SOURCE = frozenset({"SNAT", "MASQUERADE"})


class Translated(NamedTuple):
    """The addresses that a rule translates to."""

    low: bytes
    high: bytes


def nat_sites(subject: Subject, *targets: str) -> Iterator[Site]:
    """Yield the rules of table nat with one of these targets."""
    for site in subject.sites:
        target = site.rule.target
        if site.table.name == "nat" and target is not None and target.name in targets:
            yield site


def translated(site: Site) -> Translated | None:
    """Return the IPv4 addresses that a rule translates to; None if it names none."""
    assert site.rule.target is not None
    found = _TO.search(site.rule.target.text)
    if found is None:
        return None
    low = parse_address(found["low"])
    return Translated(low, parse_address(found["high"]) if found["high"] else low)


def is_plain(site: Site) -> bool:
    """Return whether a rule has no match but comments."""
    return all(match.name == "comment" for match in site.rule.matches)
