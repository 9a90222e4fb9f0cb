"""Ranges become the fewest networks, as ip_set_range_to_cidr makes them."""

from __future__ import annotations

from netemu.netfilter.ipset.prefix import networks, to_packed
from netemu.wire.address import format_address


def cover(first: int, last: int) -> list[str]:
    return [f"{format_address(to_packed(ip))}/{cidr}" for ip, cidr in networks(first, last)]


def test_ranges():
    """As `add a 192.0.2.3-192.0.2.20` to a hash:net is saved by ipset."""
    assert cover(0xC0000203, 0xC0000214) == [
        "192.0.2.3/32",
        "192.0.2.4/30",
        "192.0.2.8/29",
        "192.0.2.16/30",
        "192.0.2.20/32",
    ]


def test_far_from_the_end_of_a_long_range_there_are_single_addresses():
    assert cover(0x7FFFFFFE, 0xFFFFFFFF) == ["127.255.255.254/32", "127.255.255.255/32",
                                             "128.0.0.0/1"]  # fmt: skip
