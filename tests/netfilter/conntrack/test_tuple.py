"""Tuples: what identifies one direction of a connection."""

from __future__ import annotations

import pytest

from netemu.netfilter.conntrack.tuple import (
    ICMP_PAIR,
    Tuple,
    get_l4proto,
    get_tuple,
    half_text,
    invert_tuple,
)
from netemu.netfilter.hook import Family
from netemu.wire.ipv4 import build_ipv4

A, B = bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2])


def tuple_of(protocol: int, payload: str, *, dccp: bool = False) -> Tuple | None:
    data = build_ipv4(src=A, dst=B, protocol=protocol, payload=bytes.fromhex(payload))
    return get_tuple(data, 0, 20, protocol, dccp=dccp)


@pytest.mark.parametrize("protocol", [6, 17, 132, 136])
def test_ports(protocol: int) -> None:
    """The first four octets behind the IP header are the ports."""
    assert tuple_of(protocol, "03e80050") == Tuple(A, B, protocol, 1000, 80)
    assert tuple_of(protocol, "03e800") is None


def test_icmp_has_its_id_on_both_sides() -> None:
    """Type and code stand for the destination part; an answer has the paired type."""
    request = tuple_of(1, "0800000000070001")
    assert request == Tuple(A, B, 1, 7, 0x0800)
    assert request is not None
    assert invert_tuple(request) == Tuple(B, A, 1, 7, 0x0000)
    assert tuple_of(1, "08000000000700") is None


@pytest.mark.parametrize("kind", sorted(set(range(19)) - set(ICMP_PAIR)))
def test_icmp_without_answer(kind: int) -> None:
    """A type that has no answer cannot be inverted."""
    assert invert_tuple(Tuple(A, B, 1, 7, kind << 8)) is None


def test_other_protocols_have_addresses_only() -> None:
    """The generic tracker sees no parts."""
    assert tuple_of(50, "") == Tuple(A, B, 50, 0, 0)


def test_dccp_lost_its_ports() -> None:
    """6.1 tracks DCCP by its ports, 6.18 as any other protocol."""
    assert tuple_of(33, "03e80050", dccp=True) == Tuple(A, B, 33, 1000, 80)
    assert tuple_of(33, "03e80050") == Tuple(A, B, 33, 0, 0)


@pytest.mark.parametrize(
    "payload,expected",
    [
        ("00000800", Tuple(A, B, 47, 0, 0)),
        ("3001880b00040007", Tuple(A, B, 47, 0, 7)),
        ("3001800b00040007", None),
        ("3001880b0004", Tuple(A, B, 47, 0, 0)),
        ("3001", Tuple(A, B, 47, 0, 0)),
    ],
)
def test_gre_key_is_the_call_id_of_pptp(payload: str, expected: Tuple | None) -> None:
    """Only version 1 carrying PPP has one; version 1 with anything else has no tuple."""
    assert tuple_of(47, payload) == expected


def test_l4_header_of_fragments() -> None:
    """Only the first fragment has one; a header that is cut short has none either."""
    whole = build_ipv4(src=A, dst=B, protocol=17, payload=bytes(8))
    assert get_l4proto(whole) == (17, 20)
    first = build_ipv4(src=A, dst=B, protocol=17, payload=bytes(8), more_fragments=True)
    assert get_l4proto(first) == (17, 20)
    later = build_ipv4(src=A, dst=B, protocol=17, payload=bytes(8), fragment_offset=1)
    assert get_l4proto(later) == (0, 0)
    assert get_l4proto(whole[:19]) == (0, 0)
    whole[0] = 0x4F
    assert get_l4proto(whole) == (0, 0)


def test_family_is_told_by_the_addresses() -> None:
    """Nothing else depends on it."""
    assert Tuple(A, B, 6, 1, 2).family == Family.IPV4
    assert Tuple(bytes(16), bytes(16), 6, 1, 2).family == Family.IPV6


def test_half_text() -> None:
    """Ends are told as a reader writes them."""
    assert half_text(Tuple(A, B, 6, 1000, 80), source=True) == "10.0.0.1:1000"
    assert half_text(Tuple(A, B, 6, 1000, 80), source=False) == "10.0.0.2:80"
    assert half_text(Tuple(A, B, 1, 7, 0x0800), source=False) == "10.0.0.2 id=7"
    assert half_text(Tuple(A, B, 50, 0, 0), source=True) == "10.0.0.1"
