"""xt_devgroup: every device is in group 0."""

from __future__ import annotations

import pytest

from tests.netfilter.extensions.packets import answer, described, packet


@pytest.mark.parametrize(
    "words, expected",
    [
        ("-m devgroup --src-group default", "yes"),
        ("-m devgroup ! --src-group 0", "no"),
        ("-m devgroup --src-group 4/3", "yes"),
        ("-m devgroup --src-group 1", "no"),
    ],
)
def test_evaluation(words, expected):
    assert answer(words, packet(b"", 17)) == expected


def test_what_a_trace_says():
    assert described("-m devgroup --src-group 1", packet(b"", 17)) == "group 0"
