"""What of two listings of sets is compared."""

from __future__ import annotations

import pytest

from netemu.livekernel.sets import first_set_difference, refill

HEAD = "create a hash:ip family inet initval 0x{:08x}"
GIVEN = "create a hash:ip initval 0x5\n"
DRAWN = "create a hash:ip\n"


@pytest.mark.parametrize(
    ("text", "kernel", "netemu", "differ"),
    [
        (DRAWN, [HEAD.format(1), "add a 1.1.1.1"], [HEAD.format(2), "add a 1.1.1.1"], False),
        (GIVEN, [HEAD.format(1), "add a 1.1.1.1"], [HEAD.format(2), "add a 1.1.1.1"], True),
        (DRAWN, ["create a x", "add a 1", "add a 2"], ["create a x", "add a 2", "add a 1"], False),
        (GIVEN, ["create a x", "add a 1", "add a 2"], ["create a x", "add a 2", "add a 1"], True),
        (GIVEN, ["create a x", "add a 1 timeout 5"], ["create a x", "add a 1 timeout 6"], False),
        (GIVEN, ["create a x", "add a 1 timeout 5"], ["create a x", "add a 1 timeout 7"], True),
        (GIVEN, ["create a x", "add a 1 timeout 0"], ["create a x", "add a 1 timeout 1"], True),
        (GIVEN, ["create a x", "add a 1"], ["create a x"], True),
    ],
)
def test_order_counts_where_the_initval_is_known(text, kernel, netemu, differ):
    assert bool(first_set_difference(kernel, netemu, text)) is differ


def test_sets_with_timeouts_are_filled_again_when_a_case_begins():
    text = "create a hash:ip timeout 5\nadd a 1.1.1.1\ncreate l list:set\nadd l a\n"
    assert refill(text) == "flush a\nflush l\nadd a 1.1.1.1\nadd l a\n"
    assert refill("create a hash:ip\nadd a 1.1.1.1\n") == ""
    assert refill("create a hash:ip timeout 5\nswap a b\n") == ""


def test_an_element_with_a_drawn_port_is_translated_and_has_no_place():
    """The port that NAT drew for a reply is in the set, and the order hangs on it (seed 113)."""
    kernel = ["create a x", "add a 10.3.0.2,tcp:1018", "add a 10.3.0.3,tcp:80"]
    netemu = ["create a x", "add a 10.3.0.3,tcp:80", "add a 10.3.0.2,tcp:853"]

    def translate(row: str) -> str:
        return row.replace("tcp:1018", "tcp:853")

    assert first_set_difference(kernel, netemu, GIVEN) != ""
    assert first_set_difference(kernel, netemu, GIVEN, translate) == ""
    assert first_set_difference(kernel, netemu[:2], GIVEN, translate) != ""
