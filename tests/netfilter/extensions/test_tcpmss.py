"""xt_tcpmss: the announced segment size."""

from __future__ import annotations

import pytest

from tests.netfilter.extensions.packets import answer, described, packet


def segment(options="", words=None):
    octets = bytes.fromhex(options)
    header = bytearray(20)
    header[12] = (5 + len(octets) // 4 if words is None else words) << 4
    return packet(bytes(header) + octets, 6)


@pytest.mark.parametrize(
    "options, plain, inverse",
    [
        ("020405b4", "yes", "no"),
        ("0101020405b40000", "yes", "no"),
        ("020405b3", "no", "yes"),
        ("", "no", "yes"),
        ("020305b4", "no", "yes"),
        ("01010102", "no", "yes"),
    ],
)
def test_evaluation(options, plain, inverse):
    assert answer("-p tcp -m tcpmss --mss 1460:1500", segment(options)) == plain
    assert answer("-p tcp -m tcpmss ! --mss 1460:1500", segment(options)) == inverse


@pytest.mark.parametrize("words", [4, 7])
def test_a_header_that_is_cut_short_drops_the_packet(words):
    assert answer("-p tcp -m tcpmss --mss 5", segment("020405b4", words)) == "hotdrop"
    assert described("-p tcp -m tcpmss --mss 5", segment("020405b4", words)) == "header cut short"


def test_what_a_trace_says():
    assert described("-p tcp -m tcpmss --mss 5", segment("020405b4")) == "mss 1460"
    assert described("-p tcp -m tcpmss --mss 5", segment()) == "no MSS"
