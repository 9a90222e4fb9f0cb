"""xt_multiport: lists of ports and ranges."""

from __future__ import annotations

import pytest

from netemu.errors import RulesetError
from netemu.wire.udp import build_udp
from tests.netfilter.extensions.packets import (
    DESTINATION,
    SOURCE,
    answer,
    described,
    packet,
    rule,
)


def udp(sport, dport):
    return packet(bytes(build_udp(src=SOURCE, dst=DESTINATION, src_port=sport, dst_port=dport)), 17)


@pytest.mark.parametrize(
    "words, expected",
    [
        ("--sports 5,1000", "yes"),
        ("--dports 5,1000", "no"),
        ("--dports 50:60", "yes"),
        ("--ports 1000", "yes"),
        ("--ports 53", "yes"),
        ("--ports 1:52,54:999", "no"),
        ("! --ports 54", "yes"),
        ("! --dports 53", "no"),
    ],
)
def test_lists(words, expected):
    assert answer(f"-p udp -m multiport {words}", udp(1000, 53)) == expected


def test_only_the_first_four_octets_are_needed():
    assert answer("-p udp -m multiport --ports 0", packet(bytes(4), 17)) == "yes"
    assert answer("-p udp -m multiport --ports 0", packet(bytes(3), 17)) == "hotdrop"
    assert answer("-p udp -m multiport --ports 0", packet(bytes(9), 17, offset=1)) == "no"


@pytest.mark.parametrize(
    "words, message",
    [
        ("-p icmp -m multiport --ports 1", "multiport only works with TCP, UDP"),
        ("! -p tcp -m multiport --ports 1", "multiport only works with TCP, UDP"),
        ("-m multiport --ports 1 -p tcp", "multiport needs `-p tcp'"),
        ("-p tcp -m multiport", "multiport expection an option"),
        ("-p tcp -m multiport --ports 5:5", "invalid portrange specified"),
        ("-p tcp -m multiport --ports 1,,2", "invalid port/service `'"),
        ("-p tcp -m multiport --ports " + ",".join("123456789012345"), None),
        ("-p tcp -m multiport --ports " + ",".join("1234567890123456"), "too many ports"),
        ("-p tcp -m multiport --ports " + ",".join("12345678901234") + ",1:2", "too many ports"),
        ("-p tcp -m multiport --sports 1 --dports 2", "cannot be used together with"),
    ],
)
def test_what_iptables_refuses(words, message):
    if message is None:
        assert rule(words)
        return
    with pytest.raises(RulesetError, match=message):
        rule(words)


def test_names_and_order_of_the_list():
    printed = rule("-p tcp -m multiport --destination-ports 80,http,443:445,0x20").text
    assert printed == "-p tcp -m multiport --dports 80,80,443:445,32"


def test_what_a_trace_says():
    assert described("-p udp -m multiport --ports 1", udp(7, 8)) == "sport 7 dport 8"
    assert described("-p udp -m multiport --ports 1", packet(b"", 17)) == "no ports"
