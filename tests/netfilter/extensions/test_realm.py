"""xt_realm: every route is of realm 0."""

from __future__ import annotations

import pytest

from tests.netfilter.extensions.packets import answer, described, packet


@pytest.mark.parametrize(
    "words, expected",
    [
        ("-m realm --realm cosmos", "yes"),
        ("-m realm ! --realm 0", "no"),
        ("-m realm --realm 5", "no"),
        ("-m realm --realm 1/0", "no"),
    ],
)
def test_evaluation(words, expected):
    assert answer(words, packet(b"", 17)) == expected


def test_what_a_trace_says():
    assert described("-m realm --realm 1", packet(b"", 17)) == "realm 0"
