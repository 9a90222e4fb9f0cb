"""Addresses, masks, MACs and device names as iptables 1.8.9 reads them (asked)."""

from __future__ import annotations

import pytest

from netemu.errors import RulesetError
from netemu.netfilter.hook import Family
from netemu.netfilter.xtables.addresses import (
    Interface,
    Mac,
    address_octets,
    ipv4_octets,
    mask_octets,
    prefix_length,
    read_network,
    show_network,
)
from netemu.netfilter.xtables.kinds import OptionCall

CALL = OptionCall("mac", "mac-source")


@pytest.mark.parametrize(
    "text, octets",
    [
        ("10.1.2.3", [10, 1, 2, 3]),
        ("10", [10, 0, 0, 0]),
        ("10.1", [10, 1, 0, 0]),
        ("0x0a.010", [10, 8, 0, 0]),
        ("255.255.255.255", [255] * 4),
    ],
)
def test_missing_parts_of_an_address_are_zero(text, octets):
    assert bytes(octets) == ipv4_octets(text)


@pytest.mark.parametrize(
    "text", ["", "256", "1.2.3.4.5", "1..2", "a", "1.2.3.400", "::1", "1.2.3."]
)
def test_no_ipv4_address(text):
    assert ipv4_octets(text) is None


@pytest.mark.parametrize("text, length", [("::", 16), ("2001:db8::1", 16), ("::ffff:1.2.3.4", 16)])
def test_ipv6_addresses(text, length):
    found = address_octets(text, Family.IPV6)
    assert found is not None
    assert length == len(found)


@pytest.mark.parametrize("text", ["1.2.3.4", ":::", "g::", "1::2::3", "fe80::1%eth0"])
def test_no_ipv6_address(text):
    assert address_octets(text, Family.IPV6) is None


@pytest.mark.parametrize(
    "text, printed",
    [
        ("10.1.2.3", "10.1.2.3/32"),
        ("10.1.2.3/24", "10.1.2.0/24"),
        ("10.1.2.3/0x18", "10.1.2.0/24"),
        ("10.1.2.3/255.0.255.0", "10.0.2.0/255.0.255.0"),
        ("1.2.3.4/0.0.0.255", "0.0.0.4/0.0.0.255"),
        ("foo/0", "0.0.0.0/0"),
        ("0.0.0.0", "0.0.0.0/32"),
    ],
)
def test_networks_are_masked_and_printed(text, printed):
    network = read_network(text, Family.IPV4)
    assert printed == show_network(network.address, network.mask)


@pytest.mark.parametrize(
    "text, printed",
    [
        ("2001:db8::1", "2001:db8::1/128"),
        ("2001:db8::1/32", "2001:db8::/32"),
        ("2001:db8::1/ffff:ffff::", "2001:db8::/32"),
        ("2001:db8::1/ffff::ffff", "2001::1/ffff::ffff"),
    ],
)
def test_ipv6_networks(text, printed):
    network = read_network(text, Family.IPV6)
    assert printed == show_network(network.address, network.mask)


@pytest.mark.parametrize("mask", ["33", "", "x", "255.255", "-1", "256.0.0.0"])
def test_no_mask(mask):
    assert mask_octets(mask, Family.IPV4) is None
    with pytest.raises(RulesetError, match=f"invalid mask `{mask}' specified"):
        read_network(f"1.2.3.4/{mask}", Family.IPV4)


def test_names_are_not_resolved():
    with pytest.raises(RulesetError, match="host/network `localhost' not found"):
        read_network("localhost", Family.IPV4)


def test_prefix_length_of_masks():
    assert [
        prefix_length(bytes.fromhex(mask))
        for mask in ("00000000", "80000000", "fffffffe", "ffffffff")
    ] == [0, 1, 31, 32]
    assert prefix_length(b"\xff\x00\xff\x00") is None


def test_macs_print_with_leading_zeros():
    assert Mac().show(Mac().parse("0:1:2:3:4:F", CALL)) == "00:01:02:03:04:0f"
    for text in ("00-11-22-33-44-55", "00:11:22:33:44", "", "0:1:2:3:4:g", "001:2:3:4:5:6"):
        with pytest.raises(RulesetError, match="Invalid MAC address specified"):
            Mac().parse(text, CALL)


def test_device_names_have_at_most_15_octets():
    assert Interface().show(Interface().parse("eth+", CALL)) == "eth+"
    assert Interface().parse("x" * 15, CALL) == "x" * 15
    with pytest.raises(RulesetError, match=r"must be shorter than IFNAMSIZ \(15\)"):
        Interface().parse("é" * 8, CALL)
