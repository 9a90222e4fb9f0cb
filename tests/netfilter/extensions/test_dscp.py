"""xt_dscp: the TOS octet."""

from __future__ import annotations

import pytest

from tests.netfilter.extensions.packets import answer, described, packet


def marked(tos):
    skb = packet(b"", 17)
    skb.data[1] = tos
    return skb


@pytest.mark.parametrize(
    "words, expected",
    [
        ("-m tos --tos 0xb9", "yes"),
        ("-m tos ! --tos 0xb9", "no"),
        ("-m tos --tos 0x01/0x03", "yes"),
        ("-m tos --tos 0xf0/0x0f", "no"),
        ("-m dscp --dscp-class EF", "yes"),
        ("-m dscp ! --dscp 46", "no"),
        ("-m dscp --dscp 0", "no"),
    ],
)
def test_evaluation(words, expected):
    assert answer(words, marked(0xB9)) == expected


def test_what_a_trace_says():
    assert described("-m tos --tos 1", marked(0xB9)) == "tos 0xb9"
    assert described("-m dscp --dscp 1", marked(0xB9)) == "dscp 0x2e"
