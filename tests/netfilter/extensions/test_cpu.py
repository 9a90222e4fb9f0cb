"""xt_cpu: there is one processor."""

from __future__ import annotations

import pytest

from tests.netfilter.extensions.packets import answer, packet


@pytest.mark.parametrize(
    "words, expected",
    [
        ("-m cpu --cpu 0", "yes"),
        ("-m cpu ! --cpu 0", "no"),
        ("-m cpu --cpu 1", "no"),
    ],
)
def test_evaluation(words, expected):
    assert answer(words, packet(b"", 17)) == expected
