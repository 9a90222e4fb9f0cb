"""xt_length: the packet's length."""

from __future__ import annotations

import pytest

from tests.netfilter.extensions.packets import answer, described, packet


@pytest.mark.parametrize(
    "words, expected",
    [
        ("-m length --length 28", "yes"),
        ("-m length ! --length 28", "no"),
        ("-m length --length 29:", "no"),
        ("-m length --length 9:5", "no"),
        ("-m length ! --length 9:5", "yes"),
    ],
)
def test_evaluation(words, expected):
    assert answer(words, packet(bytes(8), 17)) == expected


def test_what_a_trace_says():
    assert described("-m length --length 1", packet(bytes(8), 17)) == "length 28"
