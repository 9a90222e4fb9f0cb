"""xt_ecn: congestion bits of IP and TCP."""

from __future__ import annotations

import pytest

from tests.netfilter.extensions.packets import answer, described, packet


def segment(flags, tos=2, length=20):
    header = bytearray(20)
    header[12], header[13] = 0x50, flags
    skb = packet(bytes(header[:length]), 6)
    skb.data[1] = tos
    return skb


@pytest.mark.parametrize(
    "words, expected",
    [
        ("-m ecn --ecn-ip-ect 2", "yes"),
        ("-m ecn ! --ecn-ip-ect 2", "no"),
        ("-p tcp -m ecn --ecn-tcp-ece", "yes"),
        ("-p tcp -m ecn --ecn-tcp-cwr", "no"),
        ("-p tcp -m ecn --ecn-tcp-ece ! --ecn-tcp-cwr --ecn-ip-ect 2", "yes"),
        ("-p tcp -m ecn ! --ecn-tcp-ece", "no"),
    ],
)
def test_evaluation(words, expected):
    assert answer(words, segment(0x42)) == expected


def test_a_header_that_is_cut_short_matches_nothing():
    assert answer("-p tcp -m ecn --ecn-tcp-ece", segment(0x42, length=12)) == "no"
    assert answer("-p tcp -m ecn ! --ecn-tcp-ece", segment(0x42, length=12)) == "no"


def test_what_a_trace_says():
    assert described("-p tcp -m ecn --ecn-tcp-ece", segment(0x42)) == "ect 2 ece 1 cwr 0"
