"""xt_hl: the TTL."""

from __future__ import annotations

import pytest

from tests.netfilter.extensions.packets import answer, described, packet


@pytest.mark.parametrize(
    "words, expected",
    [
        ("-m ttl --ttl-eq 64", "yes"),
        ("-m ttl ! --ttl-eq 64", "no"),
        ("-m ttl --ttl-lt 65", "yes"),
        ("-m ttl --ttl-lt 64", "no"),
        ("-m ttl --ttl-gt 63", "yes"),
        ("-m ttl --ttl-gt 64", "no"),
    ],
)
def test_evaluation(words, expected):
    assert answer(words, packet(b"", 17)) == expected


def test_what_a_trace_says():
    assert described("-m ttl --ttl 1", packet(b"", 17)) == "ttl 64"
