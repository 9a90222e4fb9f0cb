"""Lists of sets: order, counters of their own, references."""

from __future__ import annotations

import pytest

from netemu.errors import SetTextError
from tests.netfilter.ipset.asking import Sets

UDP = "udp 10.0.0.3:1000 > 10.0.0.9:53"
TEXT = """\
create a hash:ip counters
create b hash:net counters
create l list:set counters
add a 10.0.0.9
add b 10.0.0.0/8
add l a
add l b
"""


def test_the_first_member_that_has_it_decides_and_both_count():
    sets = Sets(TEXT)
    octets = len(sets.packet(UDP).skb.data)
    assert sets.test("l", "dst", UDP)
    assert sets.elements("a") == [f"10.0.0.9 packets 1 bytes {octets}"]
    assert sets.elements("b") == ["10.0.0.0/8 packets 0 bytes 0"]
    assert sets.elements("l") == [f"a packets 1 bytes {octets}", "b packets 0 bytes 0"]


def test_members_may_be_left_uncounted():
    sets = Sets(TEXT)
    assert sets.test("l", "dst", UDP, skip_subcounters=True)
    assert sets.elements("a") == ["10.0.0.9 packets 0 bytes 0"]
    assert sets.elements("l")[0].startswith("a packets 1")


def test_an_add_goes_to_the_first_member_that_takes_it():
    sets = Sets(TEXT)
    assert sets.add("l", "src", UDP) == ""
    assert [line.split()[0] for line in sets.elements("a")].count("10.0.0.3") == 1
    assert len(sets.elements("b")) == 1


def test_a_member_cannot_be_destroyed_or_renamed_but_swapped():
    sets = Sets(TEXT)
    for line, words in (("destroy a", "in use by a kernel"), ("rename a x", "by another system")):
        with pytest.raises(SetTextError, match=words):
            sets.read(f"{line}\n")
    sets.read("create c hash:ip counters\nswap a c\n")
    assert not sets.test("l", "dst,src", "udp 11.0.0.3:1 > 11.0.0.9:2")
    sets.read("add a 11.0.0.9\n")
    assert sets.test("l", "dst,src", "udp 11.0.0.3:1 > 11.0.0.9:2")


def test_a_member_that_expires_is_let_go():
    sets = Sets("create a hash:ip\ncreate l list:set timeout 3\nadd l a\n")
    sets.wait(4.1)
    sets.read("destroy a\n")
    assert sets.elements("l") == []
