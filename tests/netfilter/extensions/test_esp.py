"""esp: the number in the header."""

from __future__ import annotations

import pytest

from tests.netfilter.extensions.packets import answer, described, packet

WORDS = "-p esp -m esp"


def whole(offset=0):
    return packet(bytes.fromhex("00000005 00000001"), 50, offset=offset)


@pytest.mark.parametrize(
    "options, expected",
    [("--espspi 5", "yes"), ("! --espspi 5", "no"), ("--espspi 6:", "no"), ("--espspi 0:9", "yes")],
)
def test_evaluation(options, expected):
    assert answer(f"{WORDS} {options}", whole()) == expected


def test_later_fragments_never_match():
    assert answer(f"{WORDS} ! --espspi 9", whole(offset=3)) == "no"


def test_a_header_that_is_cut_short_drops_the_packet():
    short = packet(bytes.fromhex("00000005"), 50)
    assert answer(f"{WORDS} --espspi 5", short) == "hotdrop"
    assert described(f"{WORDS} --espspi 5", short).startswith("no ")


def test_what_a_trace_says():
    assert described(f"{WORDS} --espspi 5", whole()) == "spi 5"
