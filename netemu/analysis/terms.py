"""A set of packets as few products of field values: `tcp any > 172.17.0.0/16:22`.

Theory of operation: a term gives each field a set of values, and stands for all packets whose
fields are in them. `largest` starts from a small term within a set and widens one field after the
other as far as the set allows: the values of a field that are good whatever the term's other
fields are (a universal quantification). Fields that a reader cares for least are widened first, so
that what is left says what matters. `cover` takes such terms until nothing of the set is left;
they may overlap, as rules do.

Espresso does the same with cubes of bits (Brayton and others, "Logic Minimization Algorithms for
VLSI Synthesis", 1984); here a literal is a whole field, so that a range of ports is one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

from msgspec import Struct

from netemu.analysis.bdd import ALL, EMPTY, Diagram

Term: TypeAlias = Mapping["Axis", int]
"""The values of each field that is not free; a field may stand in it as any."""

Span: TypeAlias = tuple[int, int]
"""First and last of consecutive values."""


class Axis(Struct, frozen=True):
    """The variables of one field, the most significant first."""

    name: str
    first: int
    width: int

    def __contains__(self, variable: int) -> bool:
        """Return whether a variable is one of the field's."""
        return self.first <= variable < self.first + self.width

    def value(self, diagram: Diagram, number: int) -> int:
        """Return the set in which the field has this value."""
        last = self.first + self.width - 1
        return diagram.cube((last - bit, number >> bit & 1) for bit in range(self.width))


def product(diagram: Diagram, term: Term, *, but: Axis | None = None) -> int:
    """Return the packets of a term, one field left open."""
    result = ALL
    for axis, values in sorted(term.items(), key=lambda item: -item[0].first):
        if axis != but:
            result = diagram.both(values, result)
    return result


def largest(diagram: Diagram, within: int, start: Term, order: Sequence[Axis]) -> dict[Axis, int]:
    """Widen the fields of `start`, which lies within the set, in this order as far as they go."""
    term = dict(start)
    for axis in order:
        if term.get(axis, ALL) != ALL:
            term[axis] = values_good_for(diagram, within, product(diagram, term, but=axis), axis)
    return {axis: values for axis, values in term.items() if values != ALL}


def values_good_for(diagram: Diagram, within: int, others: int, axis: Axis) -> int:
    """Return the values of a field with which all of `others` is in the set."""
    missing = diagram.both(others, within ^ 1)
    return diagram.forget(missing, lambda variable: variable not in axis) ^ 1


def cover(
    diagram: Diagram,
    of: int,
    order: Sequence[Axis],
    *,
    spare: int = EMPTY,
    first: Sequence[int] = (),
) -> Iterator[dict[Axis, int]]:
    """Yield largest terms until together they hold all of a set.

    They may hold what is `spare` as well. Each starts from a member that is in as many of the
    sets `first` as there is one, the foremost sets counting most.
    """
    rest, allowed = of, diagram.either(of, spare)
    while rest != EMPTY:
        chosen = rest
        for one in first:
            both = diagram.both(chosen, one)
            chosen = both if both != EMPTY else chosen
        term = largest(diagram, allowed, start_in(diagram, chosen, order), order)
        rest = diagram.without(rest, product(diagram, term))
        yield term


def start_in(diagram: Diagram, of: int, order: Iterable[Axis]) -> dict[Axis, int]:
    """Return a term within a set: the path through its diagram that asks the fewest questions."""
    path = shortest_path(diagram, of)
    return {
        axis: diagram.cube((variable, bit) for variable, bit in path.items() if variable in axis)
        for axis in order
    }


def shortest_path(diagram: Diagram, of: int) -> dict[int, int]:
    """Return the fewest {variable: bit} that make a member of a set that is not empty."""
    assert of != EMPTY
    cost = {ALL: 0, EMPTY: 1 << 30}
    stack = [of]
    while stack:
        top = stack[-1]
        if top in cost:
            stack.pop()
            continue
        _, low, high = diagram.branches(top)
        missing = [branch for branch in (high, low) if branch not in cost]
        if missing:
            stack += missing
            continue
        cost[top] = 1 + min(cost[low], cost[high])
        stack.pop()
    path: dict[int, int] = {}
    while of != ALL:
        variable, low, high = diagram.branches(of)
        bit = int(cost[high] < cost[low])
        path[variable] = bit
        of = high if bit else low
    return path


def spans(diagram: Diagram, values: int, axis: Axis, *, most: int = 1 << 20) -> list[Span]:
    """Return the values of one field's set as spans in ascending order, the first `most`."""
    found: list[Span] = []
    end = axis.first + axis.width
    stack = [(values, axis.first, 0)]
    while stack:
        of, depth, above = stack.pop()
        if of == EMPTY:
            continue
        left = end - depth
        if of == ALL:
            low, high = above << left, ((above + 1) << left) - 1
            if found and found[-1][1] == low - 1:
                found[-1] = (found[-1][0], high)
            elif len(found) == most:
                break
            else:
                found.append((low, high))
            continue
        variable, low_branch, high_branch = diagram.branches(of)
        if variable > depth:
            low_branch = high_branch = of
        stack.append((high_branch, depth + 1, above * 2 + 1))
        stack.append((low_branch, depth + 1, above * 2))
    return found


def among(diagram: Diagram, axis: Axis, found: Iterable[Span]) -> int:
    """Return the set in which a field is within one of the spans."""
    result = EMPTY
    for span in found:
        for value, length in prefixes(span, axis.width):
            bits = (
                (axis.first + place, value >> (axis.width - 1 - place) & 1)
                for place in range(length)
            )
            result = diagram.either(result, diagram.cube(bits))
    return result


def simplest(diagram: Diagram, values: int, spare: int, axis: Axis, most: int) -> int | None:
    """Return values in as few spans as may be, where `spare` ones may be added or not.

    None if `most` spans, or the gaps between as many, are not enough.
    """
    candidates = []
    for sign in (0, 1):
        inside = diagram.without(values ^ sign, spare)
        found = _joined(diagram, inside, spare, axis, most)
        if found is not None:
            candidates.append((len(found), sign, among(diagram, axis, found) ^ sign))
    return min(candidates)[2] if candidates else None


def _joined(diagram: Diagram, values: int, spare: int, axis: Axis, most: int) -> list[Span] | None:
    """Return the spans of values, grown over spare ones to whole blocks and to each other."""
    found = spans(diagram, values, axis, most=most * 8 + 1)
    if len(found) > most * 8:
        return None
    allowed = diagram.either(values, spare)
    grown: list[Span] = []
    for span in found:
        low, high = span
        if grown and diagram.within(among(diagram, axis, [(grown[-1][1], low)]), allowed):
            low = grown.pop()[0]
        bits = (low ^ high).bit_length()
        block = (low >> bits << bits, (low >> bits << bits) + (1 << bits) - 1)
        if diagram.within(among(diagram, axis, [block]), allowed):
            low, high = block
        while grown and grown[-1][1] >= low - 1:
            low = min(low, grown.pop()[0])
        grown.append((low, high))
    return grown if len(grown) <= most else None


def block_around(diagram: Diagram, values: int, axis: Axis, number: int) -> int:
    """Return the largest aligned block of values around one of them."""
    of, bits = values, []
    last = axis.first + axis.width - 1
    for variable in range(axis.first, axis.first + axis.width):
        if of == ALL:
            break
        tested, low, high = diagram.branches(of)
        bit = number >> (last - variable) & 1
        bits.append((variable, bit))
        if tested == variable:
            of = high if bit else low
    assert of == ALL
    return diagram.cube(bits)


def prefixes(span: Span, width: int) -> list[tuple[int, int]]:
    """Split a span into aligned blocks: (value, prefix length).

    >>> prefixes((4, 11), 4)
    [(4, 2), (8, 2)]
    """
    low, high = span
    blocks = []
    while low <= high:
        size = low & -low if low else 1 << width
        while size > high - low + 1:
            size >>= 1
        blocks.append((low, width - (size.bit_length() - 1)))
        low += size
    return blocks
