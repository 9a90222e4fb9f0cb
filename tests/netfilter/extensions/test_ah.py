"""ah: the number in the header."""

from __future__ import annotations

import pytest

from tests.netfilter.extensions.packets import answer, described, packet

WORDS = "-p ah -m ah"


def whole(offset=0):
    return packet(bytes.fromhex("06010000 00000005 00000001"), 51, offset=offset)


@pytest.mark.parametrize(
    "options, expected",
    [("--ahspi 5", "yes"), ("! --ahspi 5", "no"), ("--ahspi 6:", "no"), ("--ahspi 0:9", "yes")],
)
def test_evaluation(options, expected):
    assert answer(f"{WORDS} {options}", whole()) == expected


def test_later_fragments_never_match():
    assert answer(f"{WORDS} ! --ahspi 9", whole(offset=3)) == "no"


def test_a_header_that_is_cut_short_drops_the_packet():
    short = packet(bytes.fromhex("06010000 00000005"), 51)
    assert answer(f"{WORDS} --ahspi 5", short) == "hotdrop"
    assert described(f"{WORDS} --ahspi 5", short).startswith("no ")


def test_what_a_trace_says():
    assert described(f"{WORDS} --ahspi 5", whole()) == "spi 5"
