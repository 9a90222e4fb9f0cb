"""Bitmap types: ranges, and MAC addresses that packets fill in."""

from __future__ import annotations

import pytest

from netemu.errors import SetTextError
from tests.netfilter.ipset.asking import Sets

UDP = "udp 10.0.0.3:1000 > 10.0.0.9:53 src-mac=02:00:00:00:00:01"


def test_addresses_share_a_bit_under_a_netmask():
    sets = Sets("create a bitmap:ip range 10.0.0.0/24 netmask 28\nadd a 10.0.0.5\n")
    assert sets.test("a", "src", UDP)
    assert sets.elements("a") == ["10.0.0.0"]
    assert not sets.test("a", "src", "udp 10.9.0.3:1 > 10.0.0.9:5")


def test_ports_of_tcp_and_udp_only():
    sets = Sets("create a bitmap:port range 0-1024\nadd a 53\n")
    assert sets.test("a", "dst", UDP)
    assert sets.test("a", "dst", "tcp 10.0.0.3:1000 > 10.0.0.9:53 S")
    assert not sets.test("a", "dst", "sctp 10.0.0.3:1000 > 10.0.0.9:53")
    assert not sets.test("a", "src", "udp 10.0.0.3:2000 > 10.0.0.9:53")


def test_the_first_packet_fills_in_the_mac_and_its_time_begins():
    sets = Sets("create a bitmap:ip,mac range 10.0.0.0/24 timeout 60\nadd a 10.0.0.3 timeout 5\n")
    sets.wait(100)
    assert sets.elements("a") == ["10.0.0.3 timeout 5"]
    assert sets.test("a", "src,src", UDP)
    assert sets.elements("a") == ["10.0.0.3,02:00:00:00:00:01 timeout 5"]
    assert not sets.test("a", "src,src", UDP.replace("00:01", "00:07"))
    sets.wait(6)
    assert sets.elements("a") == []


def test_an_expired_element_cannot_be_deleted():
    sets = Sets("create a bitmap:ip range 10.0.0.0/24 timeout 100\nadd a 10.0.0.3 timeout 1\n")
    sets.wait(2)
    with pytest.raises(SetTextError, match="it's not added"):
        sets.read("del a 10.0.0.3\n")


def test_expired_elements_are_counted_until_they_are_collected():
    sets = Sets("create a bitmap:ip range 10.0.0.0/24 timeout 30\nadd a 10.0.0.3 timeout 1\n")
    sets.wait(5)
    assert (sets.elements("a"), sets.sets.need("a").content.elements) == ([], 1)
    sets.wait(6)
    assert sets.sets.need("a").content.elements == 0
