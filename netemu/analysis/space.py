"""Packets as sets: fields as runs of variables, and the view in which a rule reads them.

Kernel: none.

Theory of operation: every field of `Field` is a run of variables, the highest bit first. They stand
for the packet as it entered. What a rule changes is not changed there: the changed field gets new
variables (a `twin` of each old one), the set says what values these have, and from then on a `View`
reads the field from them. So one set relates what a packet was to what it has become: after 2,500
DNAT rules it holds 2,500 pairs of destinations, and no rule behind needs to know how they came
about. Variables that a packet does not tell (`free`, `fact`, `unknown`) stand between the two.

A device is the number of its name among all names that matter: those of the node, those of the
rules, one for each prefix, and one that no rule names; 0 is no device at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction

from msgspec import Struct

from netemu.analysis.bdd import ALL, EMPTY, Diagram
from netemu.netfilter.hook import Family
from netemu.netfilter.ipset.core import IpSets
from netemu.netfilter.xtables.space import Field

FREE = 1 << 20
"""The first variable that no field has."""

TWIN = 1 << 32
"""The first twin; twins of one variable stand together, in the order of the fields."""

_TWINS = 1 << 8
"""Room for the twins of one variable: how often its value may be replaced on one way."""

CLEAR, SET = -2, -1
"""Literals that are 0 and 1; any other one is twice a variable, plus one where it is inverted."""

Run = tuple[int, ...]
"""The literals of a field, the highest bit first."""

WIDTHS = {
    Field.PROTOCOL: 8,
    Field.DESTINATION_PORT: 16,
    Field.SOURCE_PORT: 16,
    Field.CT_STATE: 3,
    Field.CT_REPLY: 1,
    Field.CT_DNAT: 1,
    Field.CT_SNAT: 1,
    Field.CT_SEEN_REPLY: 1,
    Field.CT_ASSURED: 1,
    Field.MARK: 32,
    Field.CONNMARK: 32,
    Field.TCP_FLAGS: 8,
    Field.FRAGMENT: 1,
    Field.TTL: 8,
    Field.TOS: 8,
    Field.LENGTH: 16,
    Field.SOURCE_MAC: 48,
    Field.DESTINATION_LOCAL: 1,
    Field.SOURCE_LOCAL: 1,
    Field.DESTINATION_BROADCAST: 1,
}
"""Bits of the fields whose width does not depend on the family or the node."""

LOCALITY = {
    Field.DESTINATION: Field.DESTINATION_LOCAL,
    Field.SOURCE: Field.SOURCE_LOCAL,
}
"""Where it is kept whether an address is the node's, if its addresses are not known."""

RELATED_FIELDS = {Field.MARK: Field.CONNMARK, Field.CONNMARK: Field.MARK}
"""Fields that are copied to each other, so that one may read the other's variables."""


class View:
    """Where a rule reads the fields; views of one space that are equal are the same object."""

    __slots__ = ("key", "runs")

    def __init__(self, runs: dict[Field, Run]) -> None:
        """Made by `Space.view` only."""
        self.runs = runs
        """Only of fields that are not read as the packet entered."""
        self.key = tuple(sorted(runs.items()))


class Unknowable(Struct, frozen=True):
    """A variable that stands for what a packet does not tell."""

    kind: str
    """free, fact or unknown."""
    text: str
    place: str
    """`TABLE/CHAIN` of its rule; empty for a fact."""
    weight: Fraction | None


class Space:
    """The packets of one address family at one node, or two to be compared."""

    __slots__ = (
        "_by_key",
        "_views",
        "base",
        "broadcasts",
        "changing_sets",
        "devices",
        "diagram",
        "family",
        "index",
        "locals",
        "sets",
        "start",
        "unknowables",
    )

    def __init__(
        self,
        family: Family,
        devices: Iterable[str],
        *,
        addresses: Sequence[tuple[bytes, int]] | None = None,
        broadcasts: Sequence[bytes] = (),
        sets: IpSets | None = None,
        changing_sets: frozenset[str] = frozenset(),
    ) -> None:
        """`addresses` are the node's, as prefixes; None where they are not known."""
        self.family = family
        self.diagram = Diagram()
        self.devices = ("", *dict.fromkeys(device for device in devices if device))
        self.index = {name: number for number, name in enumerate(self.devices)}
        self.locals = addresses
        self.broadcasts = broadcasts
        self.sets = sets
        self.changing_sets = changing_sets
        octets = 16 if family == Family.IPV6 else 4
        widths = dict(WIDTHS)
        widths[Field.DESTINATION] = widths[Field.SOURCE] = octets * 8
        widths[Field.IN_DEVICE] = widths[Field.OUT_DEVICE] = len(self.devices).bit_length()
        self.base: dict[Field, Run] = {}
        first = 1
        for field in Field:
            run = tuple(2 * variable for variable in range(first, first + widths[field]))
            self.base[field] = run
            first += widths[field]
        assert first < FREE
        self._views: dict[tuple[tuple[Field, Run], ...], View] = {}
        self.start = self.view({})
        """Every field as the packet entered."""
        self.unknowables: dict[int, Unknowable] = {}
        self._by_key: dict[tuple[str, str, int], int] = {}

    def view(self, runs: Mapping[Field, Run]) -> View:
        """Return the view that reads these fields from other literals than those of the start."""
        changed = {field: run for field, run in runs.items() if run != self.base[field]}
        made = View(changed)
        return self._views.setdefault(made.key, made)

    def run(self, view: View, field: Field) -> Run:
        """Return the literals of a field."""
        return view.runs.get(field) or self.base[field]

    def literal(self, literal: int) -> int:
        """Return the set in which a literal holds."""
        if literal < 0:
            return ALL if literal == SET else EMPTY
        return self.diagram.node(literal >> 1, EMPTY, ALL) ^ (literal & 1)

    def equal(self, run: Run, value: int, mask: int) -> int:
        """Return the set in which the bits of a run under the mask have a value."""
        bits: dict[int, int] = {}
        bit = 1 << (len(run) - 1)
        for literal in run:
            if mask & bit:
                wanted = 1 if value & bit else 0
                if literal < 0:
                    if literal + 2 != wanted:
                        return EMPTY
                else:
                    wanted ^= literal & 1
                    if bits.setdefault(literal >> 1, wanted) != wanted:
                        return EMPTY
            elif value & bit:
                return EMPTY
            bit >>= 1
        return self.diagram.cube(bits.items())

    def between(self, run: Run, low: int, high: int) -> int:
        """Return the set in which a run is a number within these limits."""
        most = (1 << len(run)) - 1
        found = ALL
        if low > 0:
            found = self._at_least(run, low)
        if high < most:
            found = self.diagram.without(found, self._at_least(run, high + 1))
        return found if low <= high else EMPTY

    def _at_least(self, run: Run, low: int) -> int:
        """Return the set in which a run is a number not below `low`."""
        found = ALL
        for place, literal in enumerate(reversed(run)):
            if low >> place & 1:
                found = self._choose(literal, EMPTY, found)
            else:
                found = self._choose(literal, found, ALL)
        return found

    def _choose(self, literal: int, low: int, high: int) -> int:
        if literal < 0:
            return high if literal == SET else low
        if literal & 1:
            low, high = high, low
        return self.diagram.choose(literal >> 1, low, high)

    def same(self, one: int, other: int) -> int:
        """Return the set in which two literals are equal."""
        if one < 0:
            return self.literal(other) ^ (one == CLEAR)
        return self._choose(one, self.literal(other) ^ 1, self.literal(other))

    def either(self, sets: Iterable[int]) -> int:
        """Return the union of many sets."""
        found = EMPTY
        for one in sets:
            found = self.diagram.either(found, one)
        return found

    def unknowable(
        self,
        kind: str,
        text: str,
        place: str = "",
        occurrence: int = 0,
        weight: Fraction | None = None,
    ) -> int:
        """Return the variable for what a packet does not tell."""
        key = (text, place, occurrence)
        variable = self._by_key.get(key)
        if variable is None:
            variable = self._by_key[key] = FREE + len(self._by_key)
            self.unknowables[variable] = Unknowable(kind, text, place, weight)
        return variable

    def entered(self, of: int) -> int:
        """Return the packets of a set as they entered: what became of them is forgotten."""
        diagram = self.diagram
        return diagram.drop(of, {one for one in diagram.support(of) if one >= TWIN})

    def exact(self, of: int) -> bool:
        """Return whether a set depends on nothing that is unknown."""
        return not self.reasons(of)

    def reasons(self, of: int) -> list[str]:
        """Return what is not known that a set depends on."""
        found = [self.unknowables.get(variable) for variable in self.diagram.support(of)]
        return [one.text for one in found if one is not None and one.kind == "unknown"]


def twin(variable: int, number: int) -> int:
    """Return a twin of a variable that a packet enters with; they are numbered from 1."""
    assert number < _TWINS
    return TWIN + variable * _TWINS + number


def twin_number(variable: int) -> int:
    """Return which twin a variable is, 0 for one that a packet enters with."""
    return (variable - TWIN) % _TWINS if variable >= TWIN else 0


def variable_of(variable: int) -> int:
    """Return the variable that a twin is one of."""
    return (variable - TWIN) // _TWINS
