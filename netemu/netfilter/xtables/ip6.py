"""IPv6 headers as matches walk them.

Kernel: net/ipv6/exthdrs_core.c (ipv6_find_hdr, ipv6_skip_exthdr, ipv6_ext_hdr),
include/net/ipv6.h.
"""

from __future__ import annotations

from typing import NamedTuple

IPV6_HEADER_LEN = 40

NEXTHDR_HOP = 0
NEXTHDR_ROUTING = 43
NEXTHDR_FRAGMENT = 44
NEXTHDR_ESP = 50
NEXTHDR_AUTH = 51
NEXTHDR_ICMP = 58
NEXTHDR_NONE = 59
NEXTHDR_DEST = 60

EXTENSION_HEADERS = frozenset(
    {NEXTHDR_HOP, NEXTHDR_ROUTING, NEXTHDR_FRAGMENT, NEXTHDR_AUTH, NEXTHDR_NONE, NEXTHDR_DEST}
)
"""Headers that one may follow (ipv6_ext_hdr); ESP hides what comes after it."""

FRAGMENT_HEADER_LEN = 8
_OFFSET = 0xFFF8
"""The fragment offset in the fragment header's word."""


class Found(NamedTuple):
    """Where a header stands."""

    offset: int
    """In the packet, octets."""
    protocol: int
    fragoff: int = 0
    """In octets; not 0 in a fragment that is not the first."""


class Missing(NamedTuple):
    """No such header."""

    malformed: bool
    """The packet ends within its headers (-EBADMSG), for which matches drop it."""


ABSENT = Missing(malformed=False)
CUT_SHORT = Missing(malformed=True)


def ipv6_optlen(data: bytearray, offset: int) -> int:
    """Return the octets of a hop-by-hop, destination or routing header."""
    return (data[offset + 1] + 1) << 3


def ipv6_authlen(data: bytearray, offset: int) -> int:
    """Return the octets of an authentication header."""
    return (data[offset + 1] + 2) << 2


def header_len(data: bytearray, offset: int, protocol: int) -> int:
    """Return the octets of an extension header."""
    if protocol == NEXTHDR_FRAGMENT:
        return FRAGMENT_HEADER_LEN
    return ipv6_authlen(data, offset) if protocol == NEXTHDR_AUTH else ipv6_optlen(data, offset)


def ipv6_find_hdr(data: bytearray, target: int = -1) -> Found | Missing:
    """Find the first header of protocol `target`, or with -1 the last header.

    In a fragment that is not the first, what follows the fragment header is payload and is found
    only when it is what the fragment header names and `target` is -1; its offset is then 0.
    """
    protocol = data[6]
    offset = IPV6_HEADER_LEN
    while True:
        if protocol not in EXTENSION_HEADERS or protocol == NEXTHDR_NONE:
            return Found(offset, protocol) if target in {-1, protocol} else ABSENT
        room = len(data) - offset
        if room < 2 or (protocol in {NEXTHDR_ROUTING, NEXTHDR_FRAGMENT} and room < 4):
            return CUT_SHORT
        if protocol == NEXTHDR_FRAGMENT:
            fragoff = (data[offset + 2] << 8 | data[offset + 3]) & _OFFSET
            if fragoff:
                return _in_fragment(data, offset, target, fragoff)
        if protocol == target:
            return Found(offset, protocol)
        length = header_len(data, offset, protocol)
        protocol = data[offset]
        offset += length


def _in_fragment(data: bytearray, offset: int, target: int, fragoff: int) -> Found | Missing:
    """Say what a fragment header with an offset leads to."""
    following = data[offset]
    plain = following not in EXTENSION_HEADERS or following == NEXTHDR_NONE
    if target < 0 and plain:
        return Found(0, following, fragoff)
    return Found(offset, NEXTHDR_FRAGMENT, fragoff) if target == NEXTHDR_FRAGMENT else ABSENT


def ipv6_skip_exthdr(data: bytearray) -> Found | None:
    """Return the first header that is no extension header; None when the packet ends before."""
    protocol = data[6]
    offset = IPV6_HEADER_LEN
    while protocol in EXTENSION_HEADERS:
        if protocol == NEXTHDR_NONE or len(data) < offset + 2:
            return None
        if protocol == NEXTHDR_FRAGMENT:
            if len(data) < offset + 4:
                return None
            if (data[offset + 2] << 8 | data[offset + 3]) & _OFFSET:
                break
        length = header_len(data, offset, protocol)
        protocol = data[offset]
        offset += length
    return Found(offset, protocol)
