"""xt_iprange: ranges of addresses."""

from __future__ import annotations

import pytest

from tests.netfilter.extensions.packets import answer, described, packet


@pytest.mark.parametrize(
    "words, expected",
    [
        ("-m iprange --src-range 10.0.0.1-10.0.0.1", "yes"),
        ("-m iprange ! --src-range 10.0.0.0-10.0.0.9", "no"),
        ("-m iprange --dst-range 10.0.0.2-10.0.0.9 --src-range 10.0.0.1", "yes"),
        ("-m iprange --dst-range 10.0.0.3-10.0.0.9", "no"),
        ("-m iprange --src-range 10.0.0.9-10.0.0.0", "no"),
        ("-m iprange ! --dst-range 10.0.0.9-10.0.0.0", "yes"),
    ],
)
def test_evaluation(words, expected):
    assert answer(words, packet(b"", 17)) == expected


def test_what_a_trace_says():
    assert described("-m iprange --src-range 1.1.1.1", packet(b"", 17)) == "source 10.0.0.1"
