"""xt_tcpudp: ports, flags, options, fragments and short packets."""

from __future__ import annotations

import pytest

from netemu.wire.tcp import build_tcp
from netemu.wire.udp import build_udp
from tests.netfilter.extensions.packets import (
    DESTINATION,
    SOURCE,
    answer,
    described,
    packet,
    rule,
)


def tcp(flags=0x02, options=b"", sport=1000, dport=80):
    segment = build_tcp(
        src=SOURCE, dst=DESTINATION, src_port=sport, dst_port=dport, flags=flags, options=options
    )
    return packet(bytes(segment), 6)


def udp(sport=1000, dport=53):
    return packet(bytes(build_udp(src=SOURCE, dst=DESTINATION, src_port=sport, dst_port=dport)), 17)


@pytest.mark.parametrize(
    "words, expected",
    [
        ("", "yes"),
        ("--sport 1000", "yes"),
        ("--sport 999:1001 --dport http", "yes"),
        ("--sport 1001:", "no"),
        ("! --sport 1000", "no"),
        ("! --sport 1001", "yes"),
        ("--dport 81", "no"),
        ("! --dport 81 --sport :1000", "yes"),
        ("! --sport 0:65535", "no"),
        ("--syn", "yes"),
        ("! --syn", "no"),
        ("--tcp-flags ALL SYN", "yes"),
        ("--tcp-flags SYN,ACK SYN,ACK", "no"),
        ("--tcp-flags NONE NONE", "yes"),
        ("--tcp-flags NONE SYN", "no"),
        ("! --tcp-flags NONE NONE", "no"),
    ],
)
def test_tcp_header(words, expected):
    assert answer(f"-p tcp -m tcp {words}", tcp()) == expected


def test_flags_beyond_urg_do_not_count():
    """ECE and CWR lie outside every mask that a rule can name."""
    assert answer("-p tcp -m tcp --tcp-flags ALL SYN", tcp(flags=0xC2)) == "yes"


@pytest.mark.parametrize(
    "options, words, expected",
    [
        (bytes([2, 4, 5, 180]), "--tcp-option 2", "yes"),
        (bytes([2, 4, 5, 180]), "! --tcp-option 2", "no"),
        (bytes([1, 1, 4, 2]), "--tcp-option 4", "yes"),
        (bytes([3, 3, 7, 0, 8, 10, 0, 0]), "--tcp-option 8", "yes"),
        (bytes([3, 0, 8, 0]), "--tcp-option 8", "yes"),
        (bytes([1, 1, 1, 3]), "--tcp-option 8", "no"),
        (b"", "--tcp-option 2", "no"),
        (b"", "! --tcp-option 2", "yes"),
    ],
)
def test_tcp_options_are_walked_by_their_lengths(options, words, expected):
    """A length of 0 counts as 1, and the walk goes on behind an end-of-list option."""
    assert answer(f"-p tcp -m tcp {words}", tcp(options=options)) == expected


def test_a_short_data_offset_is_dropped_only_when_options_are_wanted():
    skb = tcp()
    skb.data[20 + 12] = 0x40
    assert answer("-p tcp -m tcp --dport 80", skb) == "yes"
    assert answer("-p tcp -m tcp --tcp-option 2", skb) == "hotdrop"


def test_options_that_are_cut_off_are_dropped():
    skb = tcp()
    skb.data[20 + 12] = 0x60
    assert answer("-p tcp -m tcp ! --tcp-option 2", skb) == "hotdrop"


@pytest.mark.parametrize("offset, expected", [(1, "hotdrop"), (2, "no"), (100, "no")])
def test_later_fragments_never_match_and_offset_1_is_dropped(offset, expected):
    skb = packet(bytes(40), 6, offset=offset)
    assert answer("-p tcp -m tcp ! --dport 5", skb) == expected


def test_udp_fragments_never_match():
    assert answer("-p udp -m udp", packet(bytes(40), 17, offset=1)) == "no"


def test_a_header_that_is_cut_short_is_dropped():
    assert answer("-p tcp -m tcp", packet(bytes(19), 6)) == "hotdrop"
    assert answer("-p udp -m udp", packet(bytes(7), 17)) == "hotdrop"


@pytest.mark.parametrize(
    "words, expected",
    [
        ("--dport 53", "yes"),
        ("--dport domain --sport 1000:", "yes"),
        ("! --dport 53", "no"),
        ("--sport 53", "no"),
        ("! --sport 53 ! --dport 54", "yes"),
    ],
)
def test_udp_header(words, expected):
    assert answer(f"-p udp -m udp {words}", udp()) == expected


def test_what_a_trace_says():
    assert described("-p tcp --dport 1", tcp(flags=0x12)) == "sport 1000 dport 80 flags SYN,ACK"
    assert described("-p udp --dport 1", udp()) == "sport 1000 dport 53"
    assert described("-p udp --dport 1", packet(b"", 17)) == "header cut short"
    assert described("-p tcp --dport 1", packet(bytes(9), 6, offset=3)) == "fragment at offset 24"


def test_options_print_after_the_ports():
    printed = rule("-p tcp --syn --tcp-option 5 --dport 2 --sport 1:").text
    expected = "--sport 1:65535 --dport 2 --tcp-option 5 --tcp-flags FIN,SYN,RST,ACK SYN"
    assert printed == f"-p tcp -m tcp {expected}"
