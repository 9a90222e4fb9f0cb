"""xt_policy: nothing is under a policy."""

from __future__ import annotations

import pytest

from tests.netfilter.extensions.packets import answer, described, packet


@pytest.mark.parametrize(
    "words, expected",
    [
        ("-m policy --dir in --pol none", "yes"),
        ("-m policy --dir in --pol ipsec", "no"),
        ("-m policy --dir in --pol ipsec ! --proto esp", "no"),
    ],
)
def test_evaluation(words, expected):
    assert answer(words, packet(b"", 17)) == expected


def test_what_a_trace_says():
    assert described("-m policy --dir in", packet(b"", 17)) == "no IPsec policy"
