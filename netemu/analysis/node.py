"""The packets that there can be for given rules, and at a given node.

Kernel: none.

A mere rule file may stand on any node: which addresses are the node's is open, devices are those
that the rules name, one for each prefix (named as for a bare node), and one that no rule names.
"""

from __future__ import annotations

from collections.abc import Iterable

from netemu.analysis.reader import Reader
from netemu.analysis.rewrite import Recorder
from netemu.analysis.space import Space, View
from netemu.netfilter.hook import Family
from netemu.netfilter.ipset.core import IpSets
from netemu.netfilter.ipset.list_set import ListContent
from netemu.netfilter.xtables.kit import Target
from netemu.netfilter.xtables.model import Ruleset
from netemu.sim.spec import NamespaceSpec

UNNAMED = ("eth0", "eth1", "net0", "dev0", "other0", "zzz0")
"""Names for a device that no rule names; the first that no rule matches is taken."""

LONGEST_NAME = 15
"""IFNAMSIZ is 16 with its closing zero."""


def space_of(
    rulesets: Iterable[Ruleset], node: NamespaceSpec | None = None, sets: IpSets | None = None
) -> Space:
    """Return a space for rule sets of one family that are looked at together.

    With a `node` its addresses are known, and its devices are among those that there can be.
    """
    listed = list(rulesets)
    family = listed[0].family if listed else Family.IPV4
    patterns = list(dict.fromkeys(name for ruleset in listed for name in _named(ruleset)))
    devices = ["lo"]
    if node is not None:
        devices += [link.name for link in node.links]
    devices += concrete([*devices, *patterns])
    devices.append(_unnamed(patterns, devices))
    changing = _changing_sets(listed, sets)
    if node is None:
        return Space(family, devices, sets=sets, changing_sets=changing)
    octets = 16 if family == Family.IPV6 else 4
    return Space(
        family,
        devices,
        addresses=_local_prefixes(node, octets),
        broadcasts=_broadcasts(node, octets),
        sets=sets,
        changing_sets=changing,
    )


def _changing_sets(rulesets: Iterable[Ruleset], sets: IpSets | None) -> frozenset[str]:
    """Return the sets that rules change, those in a list with it."""
    if not sets:
        return frozenset()
    noted = Recorder(Reader(Space(Family.IPV4, ()), View({}), "", 0), frozenset())
    for ruleset in rulesets:
        for table in ruleset.tables:
            for chain in table.chains.values():
                for rule in chain.rules:
                    target = rule.target
                    declared = target.declaration if target is not None else None
                    if isinstance(declared, Target) and declared.effect is not None:
                        assert target is not None
                        declared.effect(target.settings, noted)
    found = set(noted.changed_sets)
    for name in noted.changed_sets:
        changed = sets.find(name)
        if changed is not None and isinstance(changed.content, ListContent):
            found |= {member.name for member in changed.content.members()}
    return frozenset(found)


def _named(ruleset: Ruleset) -> Iterable[str]:
    """Return the device names and prefixes of all rules."""
    for table in ruleset.tables:
        for chain in table.chains.values():
            for rule in chain.rules:
                generic = rule.generic
                if generic.in_device not in {"", "+"}:
                    yield generic.in_device
                if generic.out_device not in {"", "+"}:
                    yield generic.out_device


def concrete(patterns: Iterable[str]) -> list[str]:
    """Return all names, and for every prefix one that is not named and no longer prefix has.

    >>> concrete(["docker0", "docker+", "cali+", "cali0+", "eth0+"])
    ['docker0', 'docker1', 'cali1', 'cali0', 'eth0']
    """
    listed = list(patterns)
    names = [pattern for pattern in listed if not pattern.endswith("+")]
    prefixes = [pattern[:-1] for pattern in listed if pattern.endswith("+")]
    for prefix in prefixes:
        longer = [other for other in prefixes if len(other) > len(prefix)]
        candidates = [prefix] if prefix[-1:].isdigit() else []
        candidates += [f"{prefix}{number}" for number in range(len(listed) + 1)]
        names += [
            name
            for name in candidates
            if len(name) <= LONGEST_NAME
            and name not in names
            and not any(name.startswith(other) for other in longer)
        ][:1]
    return list(dict.fromkeys(names))


def _unnamed(patterns: list[str], devices: list[str]) -> str:
    for name in UNNAMED:
        if name not in devices and not any(
            pattern.endswith("+") and name.startswith(pattern[:-1]) for pattern in patterns
        ):
            return name
    return UNNAMED[-1]


def _local_prefixes(node: NamespaceSpec, octets: int) -> list[tuple[bytes, int]]:
    """Return what the local table takes for the node's own."""
    found = [
        (route.prefix, route.prefix_len)
        for route in node.routes
        if route.kind == "local" and len(route.prefix) == octets
    ]
    found += [(one.address, octets * 8) for one in node.addresses if len(one.address) == octets]
    if octets == 4:
        found.append((bytes((127, 0, 0, 0)), 8))
    return list(dict.fromkeys(found))


def _broadcasts(node: NamespaceSpec, octets: int) -> list[bytes]:
    found = [one.broadcast for one in node.addresses if len(one.broadcast) == octets]
    found += [
        route.prefix
        for route in node.routes
        if route.kind == "broadcast" and len(route.prefix) == octets
    ]
    return list(dict.fromkeys(found))
