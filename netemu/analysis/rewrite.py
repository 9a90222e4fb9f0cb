"""What a target does to sets of packets (Rewriting): new variables for what it changes.

Kernel: none.

Theory of operation: a bit that is set gets a twin, and the set says which value that has. A twin
that was made since the chain began and that nothing reads any more is forgotten; one that the
packets came with stays, since what they were when the chain began is what its sets are about.
"""

from __future__ import annotations

from collections.abc import Callable

from netemu.analysis.bdd import ALL, EMPTY
from netemu.analysis.reader import Reader
from netemu.analysis.space import (
    CLEAR,
    LOCALITY,
    RELATED_FIELDS,
    SET,
    Run,
    Space,
    View,
    twin,
    twin_number,
    variable_of,
)
from netemu.analysis.space import TWIN as FIRST_TWIN
from netemu.netfilter.hook import Family, Hook
from netemu.netfilter.xtables.space import Field, PacketSpace


class Rewriter:
    """Changes the packets of one set, all read by one view."""

    __slots__ = (
        "_entry",
        "_reader",
        "_values",
        "family",
        "hooks",
        "packets",
        "space",
        "spared",
        "view",
    )

    def __init__(
        self,
        space: Space,
        view: View,
        packets: int,
        entry: View,
        reader: Callable[[View], Reader],
        hooks: frozenset[Hook] = frozenset(),
    ) -> None:
        """`entry` is the view that the chain began with."""
        self.hooks = hooks
        self.space = space
        self.family: Family = space.family
        self.view = view
        self.packets = packets
        self._values = ALL
        self.spared: list[tuple[View, int]] = []
        """Packets that stay as they are."""
        self._entry = entry
        self._reader = reader

    def assign(self, field: Field, value: int, mask: int | None = None) -> None:
        """Set bits; an address that is set may be the node's or not."""
        if self.space.locals is not None and field in LOCALITY.values():
            self.packets = self._where_local(field, value)
            return
        if len(self.space.base[field]) == 1:
            self._see(field, (SET if value else CLEAR,))
            return
        run = self._write(field, mask)
        width = len(run)
        chosen = (1 << width) - 1 if mask is None else mask
        wanted = self.space.equal(run, value & chosen, chosen)
        self._narrow(wanted)
        self._relocate(field)

    def flip(self, field: Field, mask: int) -> None:
        """Read the bits inverted."""
        run = list(self.space.run(self.view, field))
        for place in range(len(run)):
            if mask >> (len(run) - 1 - place) & 1:
                run[place] = (CLEAR + SET - run[place]) if run[place] < 0 else run[place] ^ 1
        self._see(field, tuple(run))

    def copy(self, field: Field, bits: dict[int, tuple[Field, int]]) -> None:
        """Read the bits where the other ones are read."""
        run = list(self.space.run(self.view, field))
        for bit, (other, place) in bits.items():
            source = self.space.run(self.view, other)
            run[len(run) - 1 - bit] = source[len(source) - 1 - place]
        self._see(field, tuple(run))

    def among(self, field: Field, low: int, high: int) -> None:
        """Set to one of several values."""
        run = self._write(field, None)
        self._narrow(self.space.between(run, low, high))
        self._relocate(field)

    def forget(self, field: Field) -> None:
        """Set to nobody knows what."""
        self._write(field, None)
        self._relocate(field)

    def change_set(self, name: str) -> None:
        """Pass over it: `Space.changing` has all sets that any rule changes."""

    def only(self, packets: Callable[[PacketSpace], int]) -> None:
        """Spare the others from what follows."""
        self._flush()
        chosen = packets(self._reader(self.view))
        spared = self.space.diagram.without(self.packets, chosen)
        if spared != EMPTY:
            self.spared.append((self.view, spared))
        self.packets = self.space.diagram.both(self.packets, chosen)

    def done(self) -> list[tuple[View, int]]:
        """Return what the packets have become."""
        self._flush()
        return [*self.spared, (self.view, self.packets)]

    def _narrow(self, values: int) -> None:
        """Note which values new variables have; all that is noted is said at once."""
        self._values = self.space.diagram.both(self._values, values)

    def _flush(self) -> None:
        if self._values != ALL:
            self.packets = self.space.diagram.both(self.packets, self._values)
            self._values = ALL

    def _where_local(self, field: Field, value: int) -> int:
        """Return the packets whose address is, or is not, one of the node's known ones."""
        address = next(one for one, local in LOCALITY.items() if local == field)
        local = self._reader(self.view).local(address)
        return self.space.diagram.both(self.packets, local if value else local ^ 1)

    def _relocate(self, field: Field) -> None:
        """Let it be open whether a new address is the node's, where its addresses are not known."""
        local = LOCALITY.get(field)
        if local is None or self.space.locals is not None:
            return
        self._write(local, None)
        if field == Field.DESTINATION:
            self._write(Field.DESTINATION_BROADCAST, None)
        loopback = _loopback(self.space, self.space.run(self.view, field))
        here = self.space.literal(self.space.run(self.view, local)[0])
        diagram = self.space.diagram
        if diagram.meet(self._values, loopback):
            self._narrow(diagram.either(loopback ^ 1, here))

    def _write(self, field: Field, mask: int | None) -> Run:
        """Give new variables to the bits under the mask, and return how the field is read now."""
        run = self.space.run(self.view, field)
        number = 1 + max(
            (
                twin_number(literal >> 1)
                for group in (field, RELATED_FIELDS.get(field, field))
                for view in (self._entry, self.view)
                for literal in view.runs.get(group, ())
                if literal >= 0
            ),
            default=0,
        )
        made = list(run)
        for place in range(len(run)):
            if mask is not None and not mask >> (len(run) - 1 - place) & 1:
                continue
            base = self.space.base[field][place] >> 1
            made[place] = 2 * twin(base, number)
        self._see(field, tuple(made))
        return self.space.run(self.view, field)

    def _see(self, field: Field, run: Run) -> None:
        """Read a field anew; forget twins that nobody reads any more."""
        before = self.view
        self.view = self.space.view({**before.runs, field: run})
        live = variables(self.view) | variables(self._entry)
        dead = {variable for variable in variables(before) if variable not in live}
        if dead:
            self._flush()
            self.packets = self.space.diagram.drop(self.packets, dead)
            self.view, self.packets = tidy(self.space, self.view, self.packets, self._entry)


FEW = 8
"""So many bits that differ between two views are worth a variable each, to make one of the two."""

NARROW = frozenset({Field.MARK, Field.CONNMARK})
"""Fields of which rules change single bits."""


def join(
    space: Space, entry: View, one: tuple[View, int], other: tuple[View, int]
) -> tuple[View, int] | None:
    """Return the union of two sets that are read differently in a few bits of marks only.

    Those bits get new variables, and either set says what they are. None where that costs too much.
    """
    first, second = one[0], other[0]
    differing = [
        (field, place)
        for field in dict.fromkeys((*first.runs, *second.runs))
        if first.runs.get(field) != second.runs.get(field)
        for place in range(len(space.base[field]))
        if space.run(first, field)[place] != space.run(second, field)[place]
    ]
    if len(differing) > FEW or any(field not in NARROW for field, _ in differing):
        return None
    number = 1 + max(
        (
            twin_number(variable)
            for view in (first, second, entry)
            for variable in variables(view)
            if any(variable_of(variable) in _bases(space, field) for field in NARROW)
        ),
        default=0,
    )
    runs = dict(first.runs)
    sets = [one[1], other[1]]
    for field, place in differing:
        made = 2 * twin(space.base[field][place] >> 1, number)
        for at, view in enumerate((first, second)):
            same = space.same(made, space.run(view, field)[place])
            sets[at] = space.diagram.both(sets[at], same)
        run = list(runs.get(field, space.base[field]))
        run[place] = made
        runs[field] = tuple(run)
    view = space.view(runs)
    live = variables(view) | variables(entry)
    for at, old in enumerate((first, second)):
        dead = variables(old) - live
        if dead:
            sets[at] = space.diagram.drop(sets[at], dead)
    return tidy(space, view, space.diagram.either(*sets), entry)


def _bases(space: Space, field: Field) -> set[int]:
    return {literal >> 1 for literal in space.base[field]}


def variables(view: View) -> set[int]:
    """Return the twins that a view reads."""
    return {
        literal >> 1
        for run in view.runs.values()
        for literal in run
        if literal >= 0 and literal >> 1 >= FIRST_TWIN
    }


def tidy(space: Space, view: View, packets: int, entry: View) -> tuple[View, int]:
    """Number the twins made since `entry` as low as can be, so that equal views are one."""
    kept = variables(entry)
    most = _most(entry)
    names: dict[int, int] = {}
    used = set(kept)
    for variable in sorted(variables(view) - kept):
        base = variable_of(variable)
        number = most.get(base, 0) + 1
        while twin(base, number) in used:
            number += 1
        used.add(twin(base, number))
        if twin(base, number) != variable:
            names[variable] = twin(base, number)
    if not names:
        return view, packets
    runs = {
        field: tuple(
            literal if literal < 0 else 2 * names.get(literal >> 1, literal >> 1) | (literal & 1)
            for literal in run
        )
        for field, run in view.runs.items()
    }
    return space.view(runs), space.diagram.rename(packets, names)


def _most(view: View) -> dict[int, int]:
    """Return the highest number of a twin that a view reads, by variable."""
    found: dict[int, int] = {}
    for variable in variables(view):
        base = variable_of(variable)
        found[base] = max(found.get(base, 0), twin_number(variable))
    return found


def _loopback(space: Space, run: Run) -> int:
    """Return the packets whose address is on the loopback network."""
    if len(run) == 32:
        return space.equal(run, 0x7F000000, 0xFF000000)
    return space.equal(run, 1, (1 << len(run)) - 1)


class Recorder:
    """Takes down which fields a target changes, and reads."""

    __slots__ = ("_reader", "changed_sets", "family", "hooks", "written")

    def __init__(self, reader: Reader, hooks: frozenset[Hook]) -> None:
        """What `only` asks is noted in the reader."""
        self.hooks = hooks
        self.changed_sets: set[str] = set()
        self.family = reader.family
        self.written = 0
        self._reader = reader

    def assign(self, field: Field, value: int, mask: int | None = None) -> None:
        """Note the field."""
        self._note(field)

    def flip(self, field: Field, mask: int) -> None:
        """Note the field."""
        self._note(field)

    def copy(self, field: Field, bits: dict[int, tuple[Field, int]]) -> None:
        """Note the field, and those that it is copied from."""
        self._note(field)
        for other, _ in bits.values():
            self._reader.asked |= 1 << other

    def among(self, field: Field, low: int, high: int) -> None:
        """Note the field."""
        self._note(field)

    def forget(self, field: Field) -> None:
        """Note the field."""
        self._note(field)

    def change_set(self, name: str) -> None:
        """Note the set."""
        self.changed_sets.add(name)

    def only(self, packets: Callable[[PacketSpace], int]) -> None:
        """Note what it reads."""
        packets(self._reader)

    def _note(self, field: Field) -> None:
        self.written |= 1 << field
        for related in (RELATED_FIELDS.get(field), LOCALITY.get(field)):
            if related is not None:
                self.written |= 1 << related
        if field == Field.DESTINATION:
            self.written |= 1 << Field.DESTINATION_BROADCAST
