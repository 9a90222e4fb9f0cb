"""xt_u32: numbers anywhere in the packet."""

from __future__ import annotations

import pytest

from tests.netfilter.extensions.packets import answer, described, packet


@pytest.mark.parametrize(
    "words, expected",
    [
        ('-m u32 --u32 "0=0x4500001c"', "yes"),
        ('-m u32 ! --u32 "0=0x4500001c"', "no"),
        ('-m u32 --u32 "6&0xFF=17&&0>>22&0x3C@0>>16=1000"', "yes"),
        ('-m u32 --u32 "24=0:0xffffffff"', "yes"),
        ('-m u32 --u32 "25=0:0xffffffff"', "no"),
        ('-m u32 ! --u32 "25=0:0xffffffff"', "yes"),
        ('-m u32 --u32 "0>>22&0x3C@5=0:0xffffffff"', "no"),
        ('-m u32 --u32 "0<<4>>4=0x500001c"', "yes"),
    ],
)
def test_evaluation(words, expected):
    assert answer(words, packet(bytes.fromhex("03e8003500080000"), 17)) == expected


def test_what_a_trace_says():
    assert (
        described('-m u32 --u32 "0=1&&99=1"', packet(bytes(8), 17))
        == "0x4500001c, outside of the packet"
    )
