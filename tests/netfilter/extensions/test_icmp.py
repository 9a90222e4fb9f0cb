"""icmp_match of ip_tables.c: types, codes, names."""

from __future__ import annotations

import pytest

from netemu.errors import RulesetError
from netemu.wire.icmp import build_icmp
from tests.netfilter.extensions.packets import answer, described, packet, rule


def icmp(icmp_type, code=0):
    return packet(bytes(build_icmp(icmp_type=icmp_type, code=code)), 1)


@pytest.mark.parametrize(
    "words, icmp_type, code, expected",
    [
        ("--icmp-type 8", 8, 0, "yes"),
        ("--icmp-type 8", 8, 5, "yes"),
        ("--icmp-type 3/3", 3, 3, "yes"),
        ("--icmp-type 3/3", 3, 4, "no"),
        ("! --icmp-type 3/3", 3, 4, "yes"),
        ("--icmp-type any", 77, 1, "yes"),
        ("! --icmp-type any", 8, 0, "no"),
        ("--icmp-type 255", 3, 9, "yes"),
        ("--icmp-type 255/3", 3, 9, "yes"),
        ("--icmp-type host-redirect", 5, 1, "yes"),
    ],
)
def test_type_and_code(words, icmp_type, code, expected):
    assert answer(f"-p icmp -m icmp {words}", icmp(icmp_type, code)) == expected


@pytest.mark.parametrize(
    "value, printed",
    [
        ("echo-req", "8"),
        ("PING", "8"),
        ("ttl-exceeded", "11"),
        ("dest", "3"),
        ("TOS-host-redirect", "5/3"),
        ("0x3/0x1", "3/1"),
        ("255/3", "any"),
    ],
)
def test_names_may_be_cut_short_and_print_as_numbers(value, printed):
    assert rule(f"-p icmp --icmp-type {value}").text == f"-p icmp -m icmp --icmp-type {printed}"


@pytest.mark.parametrize(
    "value, message",
    [
        ("echo-re", "Ambiguous ICMP type `echo-re': `echo-reply' or `echo-request'"),
        ("256", "Unknown ICMP type `256'"),
        ("3/256", "Unknown ICMP code `3/256'"),
        ("3/", "Unknown ICMP code `3/'"),
        ("nosuch", "Unknown ICMP type `nosuch'"),
    ],
)
def test_no_type(value, message):
    with pytest.raises(RulesetError, match=message):
        rule(f"-p icmp --icmp-type {value}")


def test_fragments_and_short_headers():
    assert answer("-p icmp --icmp-type any", packet(bytes(8), 1, offset=1)) == "no"
    assert answer("-p icmp --icmp-type any", packet(bytes(7), 1)) == "hotdrop"


def test_what_a_trace_says():
    assert described("-p icmp --icmp-type 8", icmp(3, 1)) == "type 3 code 1"
    assert described("-p icmp --icmp-type 8", packet(b"x", 1)) == "header cut short"
    assert described("-p icmp --icmp-type 8", packet(b"x", 1, offset=2)) == "fragment at offset 16"
