"""xt_dccp: ports, types and options."""

from __future__ import annotations

import pytest

from tests.netfilter.extensions.packets import answer, described, packet

WORDS = "-p dccp -m dccp"


def request(options="", words=None):
    octets = bytes.fromhex(options)
    length = 5 + len(octets) // 4 if words is None else words
    header = bytes.fromhex(f"03e80050 {length:02x}000000 01000001 00000001 00000000")
    return packet(header + octets, 33)


@pytest.mark.parametrize(
    "options, expected",
    [
        ("--sport 1000 ! --dport 81", "yes"),
        ("--dccp-types REQUEST", "yes"),
        ("! --dccp-types REQUEST,ACK", "no"),
        ("--dccp-option 32", "yes"),
        ("! --dccp-option 32", "no"),
        ("--dccp-option 5", "no"),
    ],
)
def test_evaluation(options, expected):
    assert answer(f"{WORDS} {options}", request("01200300")) == expected


def test_options_that_are_cut_short_drop_the_packet():
    assert answer(f"{WORDS} --dccp-option 5", request()) == "no"
    assert answer(f"{WORDS} --dccp-option 5", request(words=4)) == "hotdrop"
    assert answer(f"{WORDS} --dccp-option 5", request(words=6)) == "hotdrop"


def test_what_a_trace_says():
    assert described(WORDS, request()) == "sport 1000 dport 80 type REQUEST"
    assert described(WORDS, packet(b"", 33)) == "no DCCP header"
