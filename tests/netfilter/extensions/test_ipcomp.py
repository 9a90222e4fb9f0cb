"""ipcomp: the number in the header."""

from __future__ import annotations

import pytest

from tests.netfilter.extensions.packets import answer, described, packet

WORDS = "-p ipcomp -m ipcomp"


def whole(offset=0):
    return packet(bytes.fromhex("06000005"), 108, offset=offset)


@pytest.mark.parametrize(
    "options, expected",
    [
        ("--ipcompspi 5", "yes"),
        ("! --ipcompspi 5", "no"),
        ("--ipcompspi 6:", "no"),
        ("--ipcompspi 0:9", "yes"),
    ],
)
def test_evaluation(options, expected):
    assert answer(f"{WORDS} {options}", whole()) == expected


def test_later_fragments_never_match():
    assert answer(f"{WORDS} ! --ipcompspi 9", whole(offset=3)) == "no"


def test_a_header_that_is_cut_short_drops_the_packet():
    short = packet(bytes.fromhex("0600"), 108)
    assert answer(f"{WORDS} --ipcompspi 5", short) == "hotdrop"
    assert described(f"{WORDS} --ipcompspi 5", short).startswith("no ")


def test_what_a_trace_says():
    assert described(f"{WORDS} --ipcompspi 5", whole()) == "cpi 5"
