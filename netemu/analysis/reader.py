"""What a match is given to say which packets it takes (PacketSpace), at one rule.

Kernel: none.
"""

from __future__ import annotations

from fractions import Fraction

from netemu.analysis.bdd import ALL, EMPTY
from netemu.analysis.space import FREE, LOCALITY, Run, Space, View
from netemu.netfilter.hook import Family
from netemu.netfilter.ipset.core import IpSets
from netemu.netfilter.xtables.space import Field


class Reader:
    """Reads the fields of packets as they stand at one rule, and notes which were asked for."""

    __slots__ = (
        "asked",
        "changing_sets",
        "drawn",
        "family",
        "generation",
        "occurrence",
        "place",
        "sets",
        "space",
        "text",
        "view",
    )

    def __init__(
        self, space: Space, view: View, place: str, occurrence: int, generation: int = 0
    ) -> None:
        """`occurrence` numbers the rules of a chain that say the same."""
        self.space = space
        self.view = view
        self.place = place
        self.occurrence = occurrence
        self.generation = generation
        """How often the packet has been at this rule before."""
        self.text = ""
        self.asked = 0
        """A bit for each field."""
        self.drawn: set[int] = set()
        """Variables that belong to the rule alone."""
        self.family: Family = space.family
        self.sets: IpSets | None = space.sets
        self.changing_sets = space.changing_sets

    def masked(
        self, field: Field, value: int, mask: int | None = None, *, entered: bool = False
    ) -> int:
        """Compare under a mask."""
        run = self._run(field, entered=entered)
        return self.space.equal(run, value, (1 << len(run)) - 1 if mask is None else mask)

    def span(self, field: Field, low: int, high: int, *, entered: bool = False) -> int:
        """Compare with limits."""
        return self.space.between(self._run(field, entered=entered), low, high)

    def _run(self, field: Field, *, entered: bool) -> Run:
        self.asked |= 1 << field
        return self.space.base[field] if entered else self.space.run(self.view, field)

    def device(self, field: Field, name: str) -> int:
        """Compare the name; a bare `+` takes packets without device, too."""
        if name == "+":
            return ALL
        self.asked |= 1 << field
        run = self.space.run(self.view, field)
        mask = (1 << len(run)) - 1
        if not name.endswith("+"):
            number = self.space.index.get(name)
            return EMPTY if number is None else self.space.equal(run, number, mask)
        prefix = name[:-1]
        return self.space.either(
            self.space.equal(run, number, mask)
            for number, known in enumerate(self.space.devices)
            if number and known.startswith(prefix)
        )

    def local(self, field: Field) -> int:
        """Compare with the node's addresses, or ask the field that stands for them."""
        if self.space.locals is None:
            return self.masked(LOCALITY[field], 1)
        return self.either(*(self._prefix(field, *one) for one in self.space.locals))

    def broadcast(self, field: Field) -> int:
        """Compare with what is broadcast everywhere, and on the node's networks."""
        everywhere = self.masked(field, 0xFFFFFFFF)
        if self.space.locals is None:
            if field != Field.DESTINATION:
                return self.either(everywhere, self.fact("source is broadcast"))
            return self.either(everywhere, self.masked(Field.DESTINATION_BROADCAST, 1))
        return self.either(
            everywhere,
            *(self._prefix(field, one, len(one) * 8) for one in self.space.broadcasts),
        )

    def _prefix(self, field: Field, prefix: bytes, length: int) -> int:
        bits = len(prefix) * 8
        mask = ((1 << length) - 1) << (bits - length)
        return self.masked(field, int.from_bytes(prefix, "big") & mask, mask)

    def both(self, *sets: int) -> int:
        """Intersect."""
        found = ALL
        for one in sets:
            found = self.space.diagram.both(found, one)
        return found

    def either(self, *sets: int) -> int:
        """Unite."""
        return self.space.either(sets)

    def outside(self, inside: int) -> int:
        """Complement."""
        return inside ^ 1

    def when(self, inverted: bool, inside: int) -> int:  # noqa: FBT001 - as in the protocol
        """Complement where inverted."""
        return inside ^ 1 if inverted else inside

    def free(self, what: str, weight: Fraction | None = None) -> int:
        """Make a variable for this rule and this visit."""
        return self._own("free", what, weight)

    def _own(self, kind: str, what: str, weight: Fraction | None) -> int:
        place = f"{self.place}#{self.generation}" if self.generation else self.place
        variable = self.space.unknowable(kind, what, place, self.occurrence, weight)
        self.drawn.add(variable)
        return self.space.literal(2 * variable)

    def fact(self, what: str, *fields: Field) -> int:
        """Make a variable for all rules, as long as NAT does not change the packet."""
        place = self._changed((*_HEADER, *fields))
        return self.space.literal(2 * self.space.unknowable("fact", what, place))

    def unknown(self, reason: str) -> int:
        """Make a variable that says so, for this rule and this visit."""
        return self._own("unknown", reason, None)

    def _changed(self, fields: tuple[Field, ...]) -> str:
        """Tell apart the forms that a packet has had."""
        for field in fields:
            self.asked |= 1 << field
        runs = [self.view.runs.get(field) for field in fields]
        return "" if not any(runs) else str(runs)


_HEADER = (
    Field.DESTINATION,
    Field.DESTINATION_PORT,
    Field.SOURCE,
    Field.SOURCE_PORT,
    Field.LENGTH,
)


def is_unknowable(variable: int) -> bool:
    """Return whether a variable is no part of any field."""
    return FREE <= variable < 1 << 32
