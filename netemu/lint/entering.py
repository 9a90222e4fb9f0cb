"""Packets as they enter the node, for rules about what becomes of them.

Kernel: none.
"""

from __future__ import annotations

import functools
from collections.abc import Collection

from netemu.analysis.bdd import ALL, EMPTY
from netemu.analysis.program import rule_packets
from netemu.analysis.reader import Reader
from netemu.analysis.space import Space
from netemu.lint.finding import Witness
from netemu.lint.subject import Site, Subject
from netemu.lint.witness import Place, Seen
from netemu.netfilter.xtables.model import Rule
from netemu.netfilter.xtables.space import CtState, Field

WAYS = ("in", "forward", "local", "loop")
OF_CONNECTIONS = (
    Field.CT_STATE,
    Field.CT_REPLY,
    Field.CT_DNAT,
    Field.CT_SNAT,
    Field.CT_SEEN_REPLY,
    Field.CT_ASSURED,
)
STRANGER = bytes((198, 51, 100, 7))
"""An address that is nobody's (RFC 5737)."""


class Entering:
    """Sets of packets, as they enter, for one rule file."""

    def __init__(self, subject: Subject) -> None:
        """Ask the analysis."""
        self.subject = subject
        self.reach = subject.prover.reach
        self.space: Space = self.reach.space
        self.read = Reader(self.space, self.space.start, "", 0)
        self.both = self.read.both
        self.either = self.read.either
        self._accepted: dict[str, int] = {}
        self._taken: dict[tuple[str, str, int], int] = {}

    @functools.cached_property
    def any(self) -> int:
        """All packets that there can be."""
        return self.reach.path.domain

    def taken(self, site: Site) -> int:
        """Return what a rule takes."""
        place = (site.table.name, site.chain.name, site.number)
        if place not in self._taken:
            self._taken[place] = self.reach.rule(*place).taken
        return self._taken[place]

    def is_reached(self, site: Site) -> bool:
        """Return whether any packet comes to a rule."""
        return self.reach.rule(site.table.name, site.chain.name, site.number).is_reached

    def accepted(self, *ways: str) -> int:
        """Return what all tables let through, on these ways or on all."""
        for way in WAYS:
            if way not in self._accepted:
                self._accepted[way] = self.reach.accepted(way)
        return self.either(*(self._accepted[way] for way in ways or WAYS))

    def asked(self, rule: Rule) -> int:
        """Return what a rule would take if packets came to it as they enter."""
        return rule_packets(Reader(self.space, self.space.start, "", 0), rule)

    def whatever_state(self, of: int) -> int:
        """Return a set whatever conntrack makes of its packets."""
        gone = {literal >> 1 for field in OF_CONNECTIONS for literal in self.space.base[field]}
        return self.space.diagram.drop(of, gone)

    def fresh(self) -> int:
        """Return the first packets of connections."""
        return self.read.masked(Field.CT_STATE, CtState.NEW)

    def from_device(self, name: str) -> int:
        """Return what enters by a device."""
        return self.read.device(Field.IN_DEVICE, name)

    def to_device(self, name: str) -> int:
        """Return what is to leave by a device."""
        return self.read.device(Field.OUT_DEVICE, name)

    def from_outside(self) -> int:
        """Return what enters by any device but lo."""
        return self.read.outside(self.read.either(self.from_device("lo"), self.from_node()))

    def from_node(self) -> int:
        """Return what the node itself sends."""
        return self.read.masked(Field.IN_DEVICE, 0)

    def to_port(self, protocol: int, low: int, high: int = 0) -> int:
        """Return packets of a protocol to a port, or to one of a range."""
        return self.read.both(
            self.read.masked(Field.PROTOCOL, protocol),
            self.read.span(Field.DESTINATION_PORT, low, high or low),
        )

    def prefix(self, field: Field, address: bytes, length: int) -> int:
        """Return packets whose address is in a network."""
        bits = len(address) * 8
        mask = ((1 << length) - 1) << (bits - length)
        return self.read.masked(field, int.from_bytes(address, "big") & mask, mask)

    def meet(self, *sets: int) -> bool:
        """Return whether any packet is in all of these sets."""
        return self.read.both(*sets) != EMPTY

    def without(self, of: int, gone: int) -> int:
        """Return a set less another."""
        return self.space.diagram.without(of, gone)

    def devices(self) -> list[str]:
        """Return the devices, less lo."""
        return [name for name in self.space.devices if name not in {"", "lo"}]

    def shown(
        self,
        packets: int,
        *,
        matched: Collection[Place] = (),
        unmatched: Collection[Place] = (),
        verdicts: Collection[str] = (),
    ) -> Witness | None:
        """Return a packet of a set that matches these rules, not those, and ends so."""

        def claim(seen: Seen) -> bool:
            return (
                all(place in seen.matched for place in matched)
                and not any(place in seen.matched for place in unmatched)
                and (not verdicts or seen.fate.verdict in verdicts)
            )

        return self.subject.prover.shown(self.at_home(packets), claim)

    def at_home(self, packets: int) -> int:
        """Return what of a set there can be, such as suits the node's addresses if any does."""
        packets = self.both(packets, self.any)
        suiting = self.both(packets, self._own_are_local)
        return suiting if suiting != EMPTY else packets

    @functools.cached_property
    def _own_are_local(self) -> int:
        """All packets but those to an address of the node that are thought to go elsewhere."""
        node = self.subject.node
        if node is None or self.space.locals is not None:
            return ALL
        local = self.read.local(Field.DESTINATION)
        return self.both(
            *(
                self.either(
                    self.read.outside(self.prefix(Field.DESTINATION, one.address, 32)), local
                )
                for one in node.main.addresses
                if len(one.address) == 4
            )
        )


@functools.lru_cache(maxsize=2)
def entering_of(subject: Subject) -> Entering:
    """Return the sets of a subject, made once for all its rules; its partner's are kept, too."""
    return Entering(subject)


def place_of(site: Site) -> Place:
    """Return where a rule stands."""
    return site.table.name, site.chain.name, site.number
