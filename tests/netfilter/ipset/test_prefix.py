"""Ranges become the fewest networks, as ip_set_range_to_cidr makes them."""

from __future__ import annotations

from netemu.netfilter.ipset.prefix import networks, to_packed
from netemu.wire.address import format_address


def cover(first: int, last: int, **how: bool) -> list[str]:
    return [f"{format_address(to_packed(ip))}/{cidr}" for ip, cidr in networks(first, last, **how)]


def test_ranges():
    """As `add a 192.0.2.3-192.0.2.20` to a hash:net is saved by ipset."""
    assert cover(0xC0000203, 0xC0000214) == [
        "192.0.2.3/32",
        "192.0.2.4/30",
        "192.0.2.8/29",
        "192.0.2.16/30",
        "192.0.2.20/32",
    ]


def test_everything_is_two_halves_or_one_whole():
    assert cover(0, 0xFFFFFFFF) == ["0.0.0.0/1", "128.0.0.0/1"]
    assert cover(0, 0xFFFFFFFF, whole=True) == ["0.0.0.0/0"]
