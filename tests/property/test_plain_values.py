"""A value that a kind calls plain is one that it takes."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netemu.netfilter.extensions import EXTENSIONS
from netemu.netfilter.hook import Family
from netemu.netfilter.xtables.addresses import (
    PLAIN_INTERFACE,
    address_octets,
    check_interface,
    dotted_octets,
    plain_address,
    plain_network,
    read_network,
)
from netemu.netfilter.xtables.kinds import OptionCall, Text
from netemu.netfilter.xtables.ports import PLAIN_PORT, parse_port, resolve_port

CALLS = [
    (kind, OptionCall(extension.name, option.name, family, protocol), pattern, quoted)
    for extension in (*EXTENSIONS.matches, *EXTENSIONS.targets)
    for option in extension.options
    for kind in [option.kind]
    for family in extension.families
    for protocol in (0, 6)
    for quoted in (False, True)
    if (pattern := kind.plain(OptionCall("", "", family, protocol), quoted=quoted)) is not None
]


def of(pattern: str) -> st.SearchStrategy[str]:
    return st.from_regex(re.compile(pattern, re.ASCII), fullmatch=True)


def test_some_kinds_have_plain_values():
    assert {call.extension for _, call, _, _ in CALLS} >= {"comment", "tcp", "udp", "DNAT", "SNAT"}


@settings(derandomize=True, max_examples=400, deadline=None)
@given(st.sampled_from(CALLS), st.data())
def test_plain_values_are_taken(drawn, data):
    kind, call, pattern, quoted = drawn
    text = data.draw(of(pattern))
    kind.parse(text, call)
    assert '"' not in text or not quoted
    assert "\\" not in text or not quoted
    assert " " not in text or quoted
    assert text.isprintable()


@pytest.mark.parametrize("family", [Family.IPV4, Family.IPV6])
@settings(derandomize=True, max_examples=200, deadline=None)
@given(data=st.data())
def test_plain_addresses_and_networks_are_taken(family, data):
    address = data.draw(of(plain_address(family)))
    octets = address_octets(address, family)
    assert octets is not None
    assert family == Family.IPV6 or dotted_octets(address) == octets
    assert any(read_network(data.draw(of(plain_network(family))), family).mask)


@pytest.mark.parametrize(
    "family, text",
    [
        (Family.IPV4, "10.0.0.1/32"),
        (Family.IPV4, "255.249.100.9"),
        (Family.IPV6, "2001:db8::1/128"),
        (Family.IPV6, "fd00::/64"),
        (Family.IPV6, "1:2:3:4:5:6:7:8"),
    ],
)
def test_what_saved_rules_hold_is_plain(family, text):
    assert re.fullmatch(plain_network(family), text)


@pytest.mark.parametrize("text", ["10.0.0.0/0", "0/0", "10.1", "010.0.0.1", "1.1.1.256"])
def test_what_needs_a_look_is_not_plain(text):
    assert not re.fullmatch(plain_network(Family.IPV4), text)


@settings(derandomize=True, max_examples=200, deadline=None)
@given(of(PLAIN_PORT), of(PLAIN_INTERFACE))
def test_plain_ports_and_devices_are_taken(port, device):
    assert parse_port(port, "tcp") == resolve_port(port) == int(port)
    check_interface(device)


def test_text_keeps_its_limits():
    pattern = Text(least=2, most=4).plain(OptionCall("", ""), quoted=True)
    assert pattern is not None
    lengths = [length for length in range(8) if re.fullmatch(pattern, " " * length)]
    assert lengths == [2, 3, 4]
