"""Ranges of IPv4 addresses as the networks that cover them, and masks of both families.

Kernel: net/netfilter/ipset/pfxlen.c (ip_set_range_to_cidr), ip_set.h (ip_set_mask_from_to).

Addresses are numbers here, in host order.
"""

from __future__ import annotations

from collections.abc import Iterator

IPV4_BITS = 32
IPV4_MAX = (1 << IPV4_BITS) - 1


def hostmask4(cidr: int) -> int:
    """Return the netmask of a prefix length as a number (ip_set_hostmask)."""
    return IPV4_MAX << (IPV4_BITS - cidr) & IPV4_MAX


def mask_from_to(ip: int, cidr: int) -> tuple[int, int]:
    """Return the first and last address of a network (ip_set_mask_from_to)."""
    mask = hostmask4(cidr)
    return ip & mask, ip | ~mask & IPV4_MAX


def networks(first: int, last: int) -> Iterator[tuple[int, int]]:
    """Yield (address, prefix length) of the networks that cover a range.

    They are as few as can be where the range is not longer than 2^31: the kernel asks by a signed
    difference whether a network ends behind it, so far from its end it takes single addresses.

    >>> [f"{ip & 255}/{cidr}" for ip, cidr in networks(0x0A000003, 0x0A000008)]
    ['3/32', '4/30', '8/32']
    >>> [cidr for _, (ip, cidr) in zip(range(3), networks(0x01020304, 0xC0A80101))]
    [32, 32, 32]
    """
    while first <= last:
        cidr = IPV4_BITS
        for shorter in range(1, IPV4_BITS):
            start, end = mask_from_to(first, shorter)
            if start == first and not _after(end, last):
                cidr = shorter
                break
        yield first, cidr
        first = mask_from_to(first, cidr)[1] + 1


def _after(one: int, other: int) -> bool:
    """Compare as time_after does: by the sign of the difference in 32 bits (after)."""
    return bool((other - one) & 1 << IPV4_BITS - 1)


def apply_mask(address: bytes, mask: bytes) -> bytes:
    """Return an address under a mask of its length (nf_inet_addr_mask)."""
    octets = len(address)
    number = int.from_bytes(address, "big") & int.from_bytes(mask, "big")
    return number.to_bytes(octets, "big")


def to_number(address: bytes) -> int:
    """Return a packed address as a number."""
    return int.from_bytes(address, "big")


def to_packed(number: int) -> bytes:
    """Return an IPv4 address packed."""
    return number.to_bytes(4, "big")
