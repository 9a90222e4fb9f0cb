"""Few products of field values that together are a set, checked by counting every assignment."""

from __future__ import annotations

import itertools
import random

from netemu.analysis.bdd import ALL, Diagram
from netemu.analysis.terms import Axis, cover, largest, prefixes, product, spans

SOURCE, DESTINATION, PORT = AXES = (
    Axis("source", 8, 4),
    Axis("destination", 0, 4),
    Axis("port", 4, 4),
)
ORDER = (SOURCE, PORT, DESTINATION)


def among(diagram: Diagram, axis: Axis, *values: int) -> int:
    result = ALL ^ 1
    for value in values:
        result = diagram.either(result, axis.value(diagram, value))
    return result


def test_a_port_of_a_network_is_one_term():
    diagram = Diagram()
    network = among(diagram, DESTINATION, 4, 5, 6, 7)
    of = diagram.both(network, PORT.value(diagram, 9))
    assert list(cover(diagram, of, ORDER)) == [{DESTINATION: network, PORT: PORT.value(diagram, 9)}]


def test_a_hole_costs_one_term():
    diagram = Diagram()
    of = diagram.both(PORT.value(diagram, 9), SOURCE.value(diagram, 3)) ^ 1
    terms = list(cover(diagram, of, ORDER))
    assert terms == [
        {PORT: PORT.value(diagram, 9) ^ 1},
        {SOURCE: SOURCE.value(diagram, 3) ^ 1},
    ] or terms == [
        {SOURCE: SOURCE.value(diagram, 3) ^ 1},
        {PORT: PORT.value(diagram, 9) ^ 1},
    ]


def test_random_sets_are_covered_exactly_by_largest_terms():
    chance = random.Random(7)
    for _ in range(60):
        diagram = Diagram()
        of = ALL ^ 1
        for _ in range(chance.randint(1, 5)):
            term = {axis: among(diagram, axis, *chance.sample(range(16), 6)) for axis in AXES}
            of = diagram.either(of, product(diagram, term))
        together = ALL ^ 1
        for term in cover(diagram, of, ORDER):
            assert diagram.within(product(diagram, term), of)
            for axis in AXES:
                for value in range(16):
                    wider = dict(term)
                    wider[axis] = diagram.either(term.get(axis, ALL), axis.value(diagram, value))
                    if wider[axis] != term.get(axis, ALL):
                        assert not diagram.within(product(diagram, wider), of)
            together = diagram.either(together, product(diagram, term))
        assert together == of


def test_the_term_around_a_packet_holds_it():
    diagram = Diagram()
    of = PORT.value(diagram, 9) ^ 1
    start = {axis: axis.value(diagram, 5) for axis in AXES}
    assert largest(diagram, of, start, ORDER) == {PORT: of}


def test_spans_are_the_values():
    chance = random.Random(3)
    for count in range(17):
        diagram = Diagram()
        values = sorted(chance.sample(range(16), count))
        found = spans(diagram, among(diagram, PORT, *values), PORT)
        assert [value for low, high in found for value in range(low, high + 1)] == values
        assert all(after[0] - before[1] > 1 for before, after in itertools.pairwise(found))


def test_prefixes_tile_a_span():
    for low, high in itertools.combinations_with_replacement(range(16), 2):
        blocks = prefixes((low, high), 4)
        tiled = [
            number for value, length in blocks for number in range(value, value + (16 >> length))
        ]
        assert tiled == list(range(low, high + 1))
        assert all(value % (16 >> length) == 0 for value, length in blocks)
