"""Hash functions exactly as the kernel computes them.

Kernel: include/linux/jhash.h, include/linux/hash.h, include/linux/kernel.h (reciprocal_scale),
lib/siphash.c. All arithmetic is modulo 2**32, that of SipHash modulo 2**64.
"""

from __future__ import annotations

from collections.abc import Sequence

_MASK32 = 0xFFFFFFFF
_MASK64 = (1 << 64) - 1

JHASH_INITVAL = 0xDEADBEEF
"""An arbitrary start value (include/linux/jhash.h)."""

GOLDEN_RATIO_32 = 0x61C88647
"""2**32 times the negative golden ratio (include/linux/hash.h)."""


GOLDEN_RATIO_64 = 0x61C8864680B583EB
"""2**64 times the negative golden ratio (include/linux/hash.h)."""


def hash_64(value: int, bits: int) -> int:
    """Spread a 64-bit value over `bits` bits (hash_64)."""
    return (value * GOLDEN_RATIO_64 & 0xFFFFFFFFFFFFFFFF) >> (64 - bits)


def rol32(word: int, shift: int) -> int:
    """Rotate a 32-bit word to the left."""
    return ((word << shift) | (word >> (32 - shift))) & _MASK32


def jhash2(words: Sequence[int], initval: int) -> int:
    """Hash an array of u32 (jhash2)."""
    length = len(words)
    a = b = c = (JHASH_INITVAL + (length << 2) + initval) & _MASK32
    position = 0
    while length > 3:
        a = (a + words[position]) & _MASK32
        b = (b + words[position + 1]) & _MASK32
        c = (c + words[position + 2]) & _MASK32
        a, b, c = _jhash_mix(a, b, c)
        length -= 3
        position += 3
    if not length:
        return c
    if length == 3:
        c = (c + words[position + 2]) & _MASK32
    if length >= 2:
        b = (b + words[position + 1]) & _MASK32
    a = (a + words[position]) & _MASK32
    return _jhash_final(a, b, c)


def _jhash_mix(a: int, b: int, c: int) -> tuple[int, int, int]:
    a = ((a - c) & _MASK32) ^ rol32(c, 4)
    c = (c + b) & _MASK32
    b = ((b - a) & _MASK32) ^ rol32(a, 6)
    a = (a + c) & _MASK32
    c = ((c - b) & _MASK32) ^ rol32(b, 8)
    b = (b + a) & _MASK32
    a = ((a - c) & _MASK32) ^ rol32(c, 16)
    c = (c + b) & _MASK32
    b = ((b - a) & _MASK32) ^ rol32(a, 19)
    a = (a + c) & _MASK32
    c = ((c - b) & _MASK32) ^ rol32(b, 4)
    b = (b + a) & _MASK32
    return a, b, c


def _jhash_final(a: int, b: int, c: int) -> int:
    c = ((c ^ b) - rol32(b, 14)) & _MASK32
    a = ((a ^ c) - rol32(c, 11)) & _MASK32
    b = ((b ^ a) - rol32(a, 25)) & _MASK32
    c = ((c ^ b) - rol32(b, 16)) & _MASK32
    a = ((a ^ c) - rol32(c, 4)) & _MASK32
    b = ((b ^ a) - rol32(a, 14)) & _MASK32
    return ((c ^ b) - rol32(b, 24)) & _MASK32


def reciprocal_scale(value: int, ep_ro: int) -> int:
    """Scale a 32-bit value into the interval [0, ep_ro)."""
    return (value * ep_ro) >> 32


def hash_32(value: int, bits: int) -> int:
    """Hash a 32-bit value to `bits` bits (hash_32)."""
    return ((value * GOLDEN_RATIO_32) & _MASK32) >> (32 - bits)


def siphash(data: bytes, key: tuple[int, int], rounds: tuple[int, int] = (2, 4)) -> int:
    """Hash octets to 64 bits with SipHash-2-4 (siphash), or with other numbers of rounds.

    >>> hex(siphash(bytes(range(15)), (0x0706050403020100, 0x0F0E0D0C0B0A0908)))
    '0xa129ca6149be45e5'
    """
    first, second = key
    v = [
        0x736F6D6570736575 ^ first,
        0x646F72616E646F6D ^ second,
        0x6C7967656E657261 ^ first,
        0x7465646279746573 ^ second,
    ]
    padded = data + bytes(7 - len(data) % 8) + bytes([len(data) & 0xFF])
    for at in range(0, len(padded), 8):
        word = int.from_bytes(padded[at : at + 8], "little")
        v[3] ^= word
        _sip_rounds(v, rounds[0])
        v[0] ^= word
    v[2] ^= 0xFF
    _sip_rounds(v, rounds[1])
    return v[0] ^ v[1] ^ v[2] ^ v[3]


def _sip_rounds(v: list[int], count: int) -> None:
    a, b, c, d = v
    for _ in range(count):
        a = (a + b) & _MASK64
        b = _rol64(b, 13) ^ a
        a = _rol64(a, 32)
        c = (c + d) & _MASK64
        d = _rol64(d, 16) ^ c
        a = (a + d) & _MASK64
        d = _rol64(d, 21) ^ a
        c = (c + b) & _MASK64
        b = _rol64(b, 17) ^ c
        c = _rol64(c, 32)
    v[:] = a, b, c, d


def hsiphash_1u32(word: int, key: tuple[int, int]) -> int:
    """Hash one u32 as 64-bit kernels do: SipHash-1-3, cut to 32 bits (hsiphash_1u32)."""
    return siphash(word.to_bytes(4, "little"), key, (1, 3)) & _MASK32


def _rol64(word: int, shift: int) -> int:
    return ((word << shift) | (word >> (64 - shift))) & _MASK64


def jhash_3words(first: int, second: int, third: int, initval: int) -> int:
    """Hash three u32 (jhash_3words)."""
    initial = (JHASH_INITVAL + (3 << 2) + initval) & _MASK32
    return _jhash_final(
        (first + initial) & _MASK32, (second + initial) & _MASK32, (third + initial) & _MASK32
    )
