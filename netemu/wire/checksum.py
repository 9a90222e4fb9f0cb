"""The Internet checksum, whole and incremental, as the kernel computes it.

RFC 1071, RFC 1624. Kernel: include/net/checksum.h (csum_replace2, csum_replace4, csum_fold).
"""

from __future__ import annotations

Octets = bytes | bytearray | memoryview


def ones_sum(data: Octets, initial: int = 0) -> int:
    """Return the unfolded sum of big-endian 16-bit words; an odd last octet is the high one."""
    total = int.from_bytes(data, "big")
    if len(data) & 1:
        total <<= 8
    # A number modulo 0xffff is the one's complement sum of its 16-bit digits; zero stays special.
    if total:
        total = total % 0xFFFF or 0xFFFF
    return initial + total


def fold(total: int) -> int:
    """Fold a sum to 16 bits with end-around carries, without complement."""
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def internet_checksum(data: Octets, initial: int = 0) -> int:
    """Return the checksum of `data` whose checksum field is zero; 0 for data that verifies.

    >>> hex(internet_checksum(bytes.fromhex("450000730000400040110000c0a80001c0a800c7")))
    '0xb861'
    """
    return ~fold(ones_sum(data, initial)) & 0xFFFF


def csum_replace2(check: int, old: int, new: int) -> int:
    """Return `check` after a 16-bit word changed from `old` to `new` (csum_replace2)."""
    # check' = ~(~check + ~old + new); RFC 1624 equation 3.
    return ~fold((~check & 0xFFFF) + (~old & 0xFFFF) + new) & 0xFFFF


def csum_replace(check: int, old: Octets, new: Octets) -> int:
    """Return `check` after an even number of octets changed from `old` to `new`."""
    total = ~check & 0xFFFF
    for index in range(0, len(old), 2):
        total += ~((old[index] << 8) | old[index + 1]) & 0xFFFF
        total += (new[index] << 8) | new[index + 1]
    return ~fold(total) & 0xFFFF


csum_replace4 = csum_replace


def pseudo_header_sum(src: Octets, dst: Octets, protocol: int, length: int) -> int:
    """Return the unfolded sum of the pseudo header (RFC 9293 section 3.1, RFC 8200 section 8.1)."""
    return ones_sum(src) + ones_sum(dst) + protocol + (length >> 16) + (length & 0xFFFF)


def l4_checksum(src: Octets, dst: Octets, protocol: int, segment: Octets) -> int:
    """Return the TCP, UDP or ICMPv6 checksum of a segment whose checksum field is zero.

    With the field left as received the result is 0 when the checksum is right.
    """
    return internet_checksum(segment, pseudo_header_sum(src, dst, protocol, len(segment)))
