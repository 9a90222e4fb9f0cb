"""A node that is asked about: its rules as sets, and fresh copies of it to send packets through."""

from __future__ import annotations

import copy
from collections.abc import Iterable

from msgspec.structs import replace

from netemu.analysis.bdd import EMPTY
from netemu.analysis.behaviour import Route, effect_of
from netemu.analysis.node import space_of
from netemu.analysis.reach import Reach
from netemu.analysis.space import Space, View
from netemu.errors import UsageError
from netemu.ip.fib import Fib, RouteType
from netemu.netfilter.hook import Family
from netemu.netfilter.ipset.core import IpSets
from netemu.netfilter.xtables.model import Ruleset
from netemu.netfilter.xtables.space import Field
from netemu.ruleset import parse_ruleset
from netemu.sim.node import Node, build_node
from netemu.sim.spec import NodeSpec, TextFile
from netemu.snapshot.change import add_device, change_addresses, change_routes

BY_SETS = "IPv6: no packet was sent, the analysis alone says so; routes are not looked at"

_MADE_UP_MAC = bytes((2, 0, 0, 2, 0, 1))


class Subject:
    """A node with its rules."""

    def __init__(self, spec: NodeSpec, *, kernel: str = "6.18", seed: int = 0) -> None:
        """Parse the rules.

        Those of IPv4, where there are such. Raises UsageError for a lab, and for a node without
        rules.
        """
        if spec.is_lab:
            raise UsageError("a lab has many nodes; ask about one snapshot or rule file")
        file = spec.main.rules4 or spec.main.rules6
        if file is None:
            raise UsageError(f"{spec.source} has no rules to ask about")
        self.family = Family.IPV4 if spec.main.rules4 is not None else Family.IPV6
        self.spec = spec
        self.file = file
        self._kernel = kernel
        self._seed = seed
        self.ruleset: Ruleset = parse_ruleset(
            file.text, file.name, family=self.family, backend=spec.main.backend
        )
        self.lines = file.text.splitlines()

    @property
    def name(self) -> str:
        """File or directory."""
        return self.spec.source

    def build(self, addresses: Iterable[str] = (), routes: Iterable[str] = ()) -> Node:
        """Return a fresh node, with more addresses and routes if that is wished."""
        spec = self.spec
        more = list(addresses)
        if more or routes:
            spec = copy.deepcopy(spec)
            for option in more:
                add_device(spec.main, option.partition("=")[0], _MADE_UP_MAC)
            change_addresses(spec.main, more)
            change_routes(spec.main, routes)
        node = build_node(spec, seed=self._seed, kernel=self._kernel, start_ns=0)
        node.assume_neighbours()
        return node

    def with_rules(self, file: TextFile, backend: str = "") -> Subject:
        """Return the same node with other rules.

        Raises RulesetError where they would not load.
        """
        main = copy.copy(self.spec.main)
        if self.family == Family.IPV4:
            main.rules4 = file
        else:
            main.rules6 = file
        main.backend = backend or main.backend
        spec = replace(self.spec, main=main)
        return Subject(spec, kernel=self._kernel, seed=self._seed)

    def effects_at(self, table: str, chain: str, number: int) -> set[str]:
        """Return what a rule's target does besides ending packets, if that is told."""
        found = next((one for one in self.ruleset.tables if one.name == table), None)
        rules = found.chains[chain].rules if found is not None and chain in found.chains else []
        if not 0 < number <= len(rules):
            return set()
        end = effect_of(rules[number - 1], found.chains[chain]) if found is not None else None
        return set() if end is None else {end.how}

    @property
    def walks(self) -> bool:
        """Whether the engine walks such packets: it does those of IPv4."""
        return self.family == Family.IPV4

    def need_walk(self, what: str) -> None:
        """Raise UsageError for IPv6 rules."""
        if not self.walks:
            raise UsageError(
                f"{self.name} has IPv6 rules only; {what} sends packets, and netemu walks no IPv6 "
                "packets yet"
            )

    @property
    def notes(self) -> list[str]:
        """Return what was assumed of the node, and how far answers go."""
        assumed = self.spec.notes[:1] if self.spec.assumed else []
        return assumed if self.walks else [*assumed, BY_SETS]

    def of_family(self, family: Family) -> Subject:
        """Return the same node with its rules of a family.

        Raises UsageError where it has none.
        """
        if self.family == family:
            return self
        main = copy.copy(self.spec.main)
        main.rules4 = main.rules4 if family == Family.IPV4 else None
        return Subject(replace(self.spec, main=main), kernel=self._kernel, seed=self._seed)

    def own_addresses(self) -> list[bytes]:
        """Return the addresses of the node, of the rules' family."""
        octets = 4 if self.family == Family.IPV4 else 16
        return [
            one.address
            for one in self.spec.main.addresses
            if len(one.address) == octets and one.scope != "host"
        ]

    def devices(self) -> list[str]:
        """Return the devices of the node, those that reach most hosts first."""
        links = [link.name for link in self.spec.main.links if link.kind != "loopback"]
        ways = [
            way.device
            for route in sorted(self.spec.main.routes, key=lambda route: route.prefix_len)
            for way in route.nexthops
        ]
        return list(dict.fromkeys([name for name in ways if name in links] + links))


def on_one_node(old: Subject, new: Subject) -> tuple[Subject, Subject]:
    """Put rules that came without a node onto the node of the other ones, if those have one."""
    one, other = old.spec, new.spec
    if other.assumed and not one.assumed:
        old = old.of_family(new.family)
        return old, old.with_rules(new.file, other.main.backend)
    if one.assumed and not other.assumed:
        new = new.of_family(old.family)
        return new.with_rules(old.file, one.main.backend), new
    if old.family != new.family:
        raise UsageError(f"{old.name} has IPv4 or IPv6 rules, {new.name} those of the other family")
    return old, new


def shared_space(*subjects: Subject, open_node: bool) -> Space:
    """Return a space for the rules of all; `open_node` leaves addresses and routes open."""
    first = subjects[0]
    sets = first.build().main.net.generic(IpSets)
    space = space_of(
        [subject.ruleset for subject in subjects],
        None if open_node else first.spec.main,
        sets or None,
    )
    devices = [link.name for subject in subjects for link in subject.spec.main.links]
    missing = [name for name in dict.fromkeys(devices) if name not in space.index]
    if not missing:
        return space
    return Space(
        space.family,
        [*space.devices, *missing],
        addresses=space.locals,
        broadcasts=space.broadcasts,
        sets=space.sets,
    )


def routes_of(subject: Subject, reach: Reach) -> Route | None:
    """Return what ties output devices to destinations; None where policy rules decide."""
    if not subject.walks:
        return None  # there are no IPv6 routes in the engine: any device may do
    fib = subject.build().main.net.generic(Fib)
    if fib.has_custom_rules:
        return None
    space = reach.space
    routes = sorted(
        (route for table in fib.tables.values() for route in table.routes()),
        key=lambda route: -route.prefix_len,
    )
    out = space.base[Field.OUT_DEVICE]
    mask = (1 << len(out)) - 1
    made: dict[View, int] = {}

    def route_set(view: View) -> int:
        found = made.get(view)
        if found is not None:
            return found
        diagram = space.diagram
        found, taken = EMPTY, EMPTY
        run = space.run(view, Field.DESTINATION)
        for route in routes:
            prefix = int.from_bytes(route.prefix, "big")
            bits = ((1 << route.prefix_len) - 1) << (32 - route.prefix_len)
            block = space.equal(run, prefix & bits, bits)
            cell = diagram.without(block, taken)
            taken = diagram.either(taken, block)
            names = [
                "lo" if route.kind == RouteType.LOCAL else way.device.name
                for way in route.nexthops
                if way.device is not None
            ]
            devices = space.either(
                space.equal(out, space.index[name], mask) for name in names if name in space.index
            )
            found = diagram.either(found, diagram.both(cell, devices))
        made[view] = found
        return found

    return route_set
