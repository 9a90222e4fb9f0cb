"""xt_sctp: ports and chunks."""

from __future__ import annotations

import pytest

from tests.netfilter.extensions.packets import answer, described, packet

INIT = "01000014 00000001 0000ffff 00010001 00000001"
DATA = "00030014 00000001 00000000 00000000 41000000"
WORDS = "-p sctp -m sctp"


def chunks(*texts, offset=0):
    header = bytes.fromhex("03e80050 00000000 00000000")
    return packet(header + bytes.fromhex("".join(texts)), 132, offset=offset)


@pytest.mark.parametrize(
    "options, expected",
    [
        ("--sport 1000 ! --dport 81", "yes"),
        ("! --sport 1000", "no"),
        ("--chunk-types any INIT,ABORT", "yes"),
        ("--chunk-types all INIT,ABORT", "no"),
        ("--chunk-types all INIT,DATA:BE", "yes"),
        ("--chunk-types all INIT,DATA:be", "no"),
        ("--chunk-types only INIT", "no"),
        ("! --chunk-types only INIT", "yes"),
        ("--chunk-types only INIT,DATA", "yes"),
        ("--chunk-types any NONE", "no"),
        ("--chunk-types all NONE", "yes"),
    ],
)
def test_evaluation(options, expected):
    assert answer(f"{WORDS} {options}", chunks(INIT, DATA)) == expected


def test_fragments_and_cut_chunks():
    assert answer(f"{WORDS} ! --sport 5", chunks(INIT, offset=3)) == "no"
    assert answer(f"{WORDS} --chunk-types any INIT", chunks("0000")) == "hotdrop"
    assert answer(f"{WORDS} --chunk-types any INIT", chunks("00000000")) == "hotdrop"
    assert answer(WORDS, packet(b"", 132)) == "hotdrop"


def test_what_a_trace_says():
    text = described(f"{WORDS} --chunk-types any INIT", chunks(INIT, DATA))
    assert text == "sport 1000 dport 80 chunks INIT,DATA"
    assert described(WORDS, packet(b"", 132)) == "no SCTP header"
