"""The IP sets and virtual servers of a subject's node, as lint rules look at them.

Kernel: none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from netemu.errors import NetemuError
from netemu.lint.subject import Site, Subject
from netemu.net import Net
from netemu.netfilter.ipset.core import IpSets
from netemu.netfilter.ipset.ip_set import IpSet
from netemu.netfilter.xtables.kit import Settings
from netemu.netfilter.xtables.set_names import SetReference
from netemu.ruleset.ipset import read_sets


class Reference(NamedTuple):
    """A rule that names a set."""

    site: Site
    name: str
    directions: int
    """How many src and dst it gives; one or more."""
    option: str
    """match-set, add-set, del-set, map-set."""


def sets_of(subject: Subject) -> Mapping[str, IpSet] | None:
    """Return the node's sets by name; None where nobody said which there are."""
    node = subject.node
    if node is None or node.main.ipset is None:
        return None
    found = Net().generic(IpSets)
    try:
        read_sets(node.main.ipset.text, node.main.ipset.name, found)
    except NetemuError:
        return None
    return {one.name: one for one in found.all()}


def references(subject: Subject) -> Iterator[Reference]:
    """Yield every use of a set by a rule."""
    for site in subject.sites:
        rule = site.rule
        bound = [match for match in rule.matches if match.name == "set"]
        settings = [match.given for match in bound]
        if rule.target is not None and rule.target.name == "SET":
            settings.append(rule.target.given)
        for given in settings:
            if not isinstance(given, Settings):
                continue
            for option, one in given.given.items():
                if isinstance(one.value, SetReference):
                    directions = len(one.value.directions)
                    yield Reference(site, one.value.name, directions, option)


def missing_sets(subject: Subject) -> list[Reference]:
    """Return the references to sets that there are not, where it is known which there are."""
    sets = sets_of(subject)
    if sets is None:
        return []
    return [one for one in references(subject) if one.name not in sets]
