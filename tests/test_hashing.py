"""Kernel hash functions against the algorithms' own definitions."""

from __future__ import annotations

import pytest

from netemu.hashing import hash_32, jhash2, reciprocal_scale, rol32

WORDS = [0x9E3779B9 * (index + 1) & 0xFFFFFFFF for index in range(12)]

LOOKUP3 = [
    (0, 0x0, 0xDEADBEEF),
    (0, 0xCAFEF00D, 0xA9ACAEFC),
    (1, 0x0, 0x5AE9AC0C),
    (1, 0xCAFEF00D, 0xF9753447),
    (2, 0x0, 0x5863E4FA),
    (2, 0xCAFEF00D, 0xE2580373),
    (3, 0x0, 0x6E07DBA2),
    (3, 0xCAFEF00D, 0xBD608169),
    (4, 0x0, 0x2246CC06),
    (4, 0xCAFEF00D, 0x3A5386AB),
    (5, 0x0, 0xDFE677A7),
    (5, 0xCAFEF00D, 0xE0F8CC31),
    (6, 0x0, 0xCFA5B220),
    (6, 0xCAFEF00D, 0x1B8A80D5),
    (7, 0x0, 0xDF1E7751),
    (7, 0xCAFEF00D, 0x42D512E9),
    (8, 0x0, 0xB5860532),
    (8, 0xCAFEF00D, 0x9686D21A),
    (9, 0x0, 0x00139FE7),
    (9, 0xCAFEF00D, 0x2B97A8B8),
    (10, 0x0, 0xA806E642),
    (10, 0xCAFEF00D, 0xF493E196),
    (11, 0x0, 0xD92DF4C8),
    (11, 0xCAFEF00D, 0x08C1CF3B),
    (12, 0x0, 0xC9176CA3),
    (12, 0xCAFEF00D, 0xAAD437F8),
]
"""(number of WORDS, initval, hash): hashword() of Bob Jenkins' lookup3.c, compiled with gcc."""


@pytest.mark.parametrize("count,initval,expected", LOOKUP3)
def test_jhash2_is_hashword(count: int, initval: int, expected: int) -> None:
    """jhash2 is lookup3's hashword; every length takes another path through its end."""
    assert jhash2(WORDS[:count], initval) == expected


@pytest.mark.parametrize(
    "src,dst,low,size,chosen",
    [
        # -j SNAT --to-source 10.4.0.100-10.4.0.110, no --persistent; Linux 6.18.44
        ("0a010002", "0a020002", 100, 11, 104),
        ("0a010003", "0a020002", 100, 11, 101),
        ("0a010004", "0a020002", 100, 11, 102),
        ("0a010005", "0a020002", 100, 11, 101),
    ],
)
def test_snat_range_uses_it(src: str, dst: str, low: int, size: int, chosen: int) -> None:
    """The kernel spreads clients over an address range with it, words in memory order."""
    source = int.from_bytes(bytes.fromhex(src), "little")
    destination = int.from_bytes(bytes.fromhex(dst), "little")
    assert low + reciprocal_scale(jhash2([source, 0, 0, 0], destination), size) == chosen


def test_reciprocal_scale_spans_the_interval() -> None:
    """0 maps to 0 and the largest value to the last one."""
    assert reciprocal_scale(0, 11) == 0
    assert reciprocal_scale(0xFFFFFFFF, 11) == 10
    assert reciprocal_scale(0x80000000, 11) == 5


def test_rol32_carries_bits_around() -> None:
    """A bit that leaves at the top comes in at the bottom."""
    assert rol32(0x80000001, 4) == 0x00000018


def test_hash_32_keeps_the_high_bits() -> None:
    """hash_32 is a multiplication by the golden ratio, high bits first."""
    assert hash_32(1, 32) == 0x61C88647
    assert hash_32(1, 8) == 0x61
