"""The generic part of a rule, as printed and as kept."""

from __future__ import annotations

import pytest

from netemu.netfilter.xtables.model import Invert
from netemu.ruleset import parse_ruleset


def rule(words: str, chain: str = "FORWARD"):
    return parse_ruleset(f"*filter\n-A {chain} {words}\nCOMMIT\n").tables[0].chains[chain].rules[0]


@pytest.mark.parametrize(
    "words, printed",
    [
        (
            "-f -p udp -o b -i a -d 2.2.2.2 -s 1.1.1.1",
            "-s 1.1.1.1/32 -d 2.2.2.2/32 -i a -o b -p udp -f",
        ),
        (
            "! -f ! -p udp ! -o b ! -i a ! -d 2.2.2.2 ! -s 1.1.1.1",
            "! -s 1.1.1.1/32 ! -d 2.2.2.2/32 ! -i a ! -o b ! -p udp ! -f",
        ),
        ("-s 0/0 -d 10.0.0.0/0 -i + -o + -p all", ""),
        ("! -s 0/0", "! -s 0.0.0.0/0"),
        ("! -i +", ""),
        ("-s 0.0.0.0", "-s 0.0.0.0/32"),
        ("-p 250", "-p 250"),
        ("-p mh", "-p mobility-header"),
    ],
)
def test_printing(words, printed):
    assert rule(words).text == printed


def test_addresses_that_match_anything_are_left_out_unless_inverted():
    assert rule("-s 0/0 -d 10.0.0.0/0 -p all").generic.unconditional
    assert not rule("-i +").generic.unconditional
    nothing = rule("! -s 0/0 ! -i +").generic
    assert (nothing.source_mask, nothing.in_device) == (bytes(4), "+")
    assert nothing.invert == Invert.SRCIP | Invert.VIA_IN


def test_addresses_are_kept_masked():
    generic = rule("-s 10.1.2.3/255.0.255.0").generic
    assert (generic.source, generic.source_mask) == (
        bytes([10, 0, 2, 0]),
        bytes([255, 0, 255, 0]),
    )
