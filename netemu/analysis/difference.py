"""Packets that two rule sets treat differently, grouped by what becomes of them in each.

Kernel: none.

Theory of operation: packets for which the sets of all ends are the same are let alone: that is most
of them, and it costs a comparison of numbers. For the others a *lot* is made, the part of the sets
below the fields: what a packet comes to as a function of what it does not tell. There, draws with
a known probability are summed up, so that a lot is what ends with which share, under conditions
that are no draws (does this `limit` hold?). Equal lots are the same value, whatever the order of
the rules and of the draws; packets with the same two lots form a group.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import TypeAlias

from msgspec import Struct

from netemu.analysis.bdd import ALL, EMPTY
from netemu.analysis.behaviour import End
from netemu.analysis.space import FREE, TWIN, Space

Share: TypeAlias = tuple[End, int, Fraction]
"""An end, what the changed fields are there (a set of twins), and its share."""

Shares: TypeAlias = frozenset[Share]


class Condition(Struct, frozen=True):
    """A lot that depends on something else than a draw."""

    variable: int
    without: Lot
    """What a packet comes to where it does not hold."""
    given: Lot


Lot: TypeAlias = Shares | Condition


class Group(Struct, frozen=True, eq=False):
    """Packets with the same lot in the old rule set, and the same in the new one."""

    packets: int
    """Sets of fields alone."""
    old: Lot
    new: Lot


class Comparison:
    """Compares the behaviours of two rule sets of one space."""

    def __init__(self, space: Space, old: Mapping[End, int], new: Mapping[End, int]) -> None:
        """See `groups`."""
        self._space = space
        self._diagram = space.diagram
        self._old = old
        self._new = new
        self._lots: dict[tuple[tuple[End, int], ...], Lot] = {}

    def differing(self) -> int:
        """Return the packets, by their fields, for which the sets of any end differ."""
        found = EMPTY
        for end in {**self._old, **self._new}:
            old, new = self._old.get(end, EMPTY), self._new.get(end, EMPTY)
            if old != new:
                for one, other in ((old, new), (new, old)):
                    left = self._diagram.without(one, other)
                    left = self._diagram.forget(left, lambda variable: variable >= FREE)
                    found = self._diagram.either(found, left)
        return found

    def groups(self) -> list[Group]:
        """Return packets that end differently, with their lots; ordered by what is most."""
        where = self.differing()
        sides = [
            [(end, self._diagram.both(packets, where)) for end, packets in side.items()]
            for side in (self._old, self._new)
        ]
        ends = [[(end, one) for end, one in side if one != EMPTY] for side in sides]
        names = [[end for end, _ in side] for side in ends]
        found = self._split(
            names, where, tuple(one for _, one in ends[0]), tuple(one for _, one in ends[1])
        )
        return [Group(packets, old, new) for (old, new), packets in found.items() if old != new]

    def _split(
        self, names: Sequence[Sequence[End]], where: int, old: tuple[int, ...], new: tuple[int, ...]
    ) -> dict[tuple[Lot, Lot], int]:
        """Return pairs of lots and their packets: down to where only the rest of the sets differ.

        A joint walk through all diagrams, by field variables, without recursion.
        """
        diagram = self._diagram
        memo: dict[tuple[int, ...], dict[tuple[Lot, Lot], int]] = {}
        root = (where, *old, *new)
        stack = [root]
        while stack:
            top = stack[-1]
            if top in memo:
                stack.pop()
                continue
            if top[0] == EMPTY:
                memo[top] = {}
                continue
            variable = min(diagram.branches(one)[0] for one in top)
            if variable >= FREE:
                cut = 1 + len(old)
                pair = (
                    self._lot(names[0], top[1:cut]),
                    self._lot(names[1], top[cut:]),
                )
                memo[top] = {pair: ALL}
                continue
            low, high = self._children(top, variable)
            missing = [child for child in (high, low) if child not in memo]
            if missing:
                stack += missing
                continue
            lows, highs = memo[low], memo[high]
            memo[top] = {
                pair: diagram.node(variable, lows.get(pair, EMPTY), highs.get(pair, EMPTY))
                for pair in {**lows, **highs}
            }
        return memo[root]

    def _children(
        self, sets: tuple[int, ...], variable: int
    ) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return what is left of sets where a variable is 0 and 1."""
        lows, highs = [], []
        for one in sets:
            tested, low, high = self._diagram.branches(one)
            lows.append(low if tested == variable else one)
            highs.append(high if tested == variable else one)
        return tuple(lows), tuple(highs)

    def lot(self, ends: Mapping[End, int]) -> Lot:
        """Return what packets come to, given the ends' sets of what no packet tells."""
        return self._lot(list(ends), tuple(ends.values()))

    def _lot(self, names: Sequence[End], sets: tuple[int, ...]) -> Lot:
        """Return what packets come to of which these sets are left."""
        present = tuple((end, one) for end, one in zip(names, sets, strict=True) if one != EMPTY)
        found = self._lots.get(present)
        if found is None:
            found = self._lots[present] = self._make_lot(present)
        return found

    def _make_lot(self, present: tuple[tuple[End, int], ...]) -> Lot:
        variables = [self._diagram.branches(one)[0] for _, one in present]
        variable = min(variables, default=TWIN)
        if variable >= TWIN:
            return frozenset((end, one, Fraction(1)) for end, one in present)
        sides = self._children(tuple(one for _, one in present), variable)
        names = [end for end, _ in present]
        without, given = (self._lot(names, side) for side in sides)
        weight = self._space.unknowables[variable].weight
        if weight is None:
            return _condition(variable, without, given)
        return _mixed(weight, without, given)


def _condition(variable: int, without: Lot, given: Lot) -> Lot:
    return without if without == given else Condition(variable, without, given)


def _mixed(weight: Fraction, without: Lot, given: Lot) -> Lot:
    """Return the mixture of two lots; conditions come before draws."""
    first = min(
        (lot.variable for lot in (without, given) if isinstance(lot, Condition)), default=None
    )
    if first is not None:
        return _condition(
            first,
            _mixed(weight, lot_if(without, first, holds=False), lot_if(given, first, holds=False)),
            _mixed(weight, lot_if(without, first, holds=True), lot_if(given, first, holds=True)),
        )
    shares: dict[tuple[End, int], Fraction] = {}
    for lot, factor in ((without, 1 - weight), (given, weight)):
        assert not isinstance(lot, Condition)
        for end, twins, share in lot:
            shares[end, twins] = shares.get((end, twins), Fraction(0)) + factor * share
    return frozenset((end, twins, share) for (end, twins), share in shares.items() if share)


def lot_if(lot: Lot, variable: int, *, holds: bool) -> Lot:
    """Return a lot under the condition that a variable holds, or does not."""
    if not isinstance(lot, Condition) or lot.variable != variable:
        return lot
    return lot.given if holds else lot.without


def cases(old: Lot, new: Lot) -> Iterator[tuple[dict[int, bool], Shares, Shares]]:
    """Yield the conditions under which two lots differ, with what each is then."""
    stack: list[tuple[dict[int, bool], Lot, Lot]] = [({}, old, new)]
    while stack:
        given, one, other = stack.pop()
        if one == other:
            continue
        first = min(
            (lot.variable for lot in (one, other) if isinstance(lot, Condition)), default=None
        )
        if first is None:
            assert not isinstance(one, Condition)
            assert not isinstance(other, Condition)
            yield given, one, other
            continue
        stack += [
            (
                {**given, first: holds},
                lot_if(one, first, holds=holds),
                lot_if(other, first, holds=holds),
            )
            for holds in (True, False)
        ]
