"""The memory that a received packet lies in: how much it takes, how much room it has behind it.

Kernel: net/core/skbuff.c (__alloc_skb, skb_try_coalesce), net/packet/af_packet.c (packet_snd).

It hangs on who made the packet: here each counts as one that came through a veth pair from a packet
socket. Up to a page it is one buffer, and the room that the allocator's sizes leave stays behind
the packet; a larger one has a small head and whole pages.

    | headroom 2 | Ethernet header 14 | packet | tailroom | skb_shared_info 320 |
"""

from __future__ import annotations

from netemu.skb import ETH_HLEN

SKB_OCTETS = 256
"""sizeof(struct sk_buff), a multiple of a cache line."""

SHARED_INFO_OCTETS = 320
"""sizeof(struct skb_shared_info), likewise."""

HEADROOM_OCTETS = 16
"""LL_RESERVED_SPACE of a veth device; the Ethernet header lies at its end."""

CACHE_LINE_OCTETS = 64

PAGE_OCTETS = 4096

MAX_SKB_FRAGS = 17
"""Pieces of pages that one buffer can name."""

SMALL_HEAD_OCTETS = {"6.1": 512}
SMALL_HEAD_DEFAULT = 576
"""The smallest buffer: 512 on 6.1 (kmalloc), then SKB_SMALL_HEAD_SIZE rounded up (asked of 6.18).

Larger ones are powers of two.
"""


def _is_paged(packet_octets: int) -> bool:
    return packet_octets + ETH_HLEN + HEADROOM_OCTETS >= PAGE_OCTETS


def head_octets(packet_octets: int, kernel: str) -> int:
    """Return the size of the buffer that a packet is in, or begins in."""
    linear = ETH_HLEN if _is_paged(packet_octets) else packet_octets + ETH_HLEN
    lines = -(-(linear + HEADROOM_OCTETS) // CACHE_LINE_OCTETS)
    needed = lines * CACHE_LINE_OCTETS + SHARED_INFO_OCTETS
    small = SMALL_HEAD_OCTETS.get(kernel, SMALL_HEAD_DEFAULT)
    return small if needed <= small else 1 << (needed - 1).bit_length()


def truesize(packet_octets: int, kernel: str) -> int:
    """Return the memory that a received IP packet takes (skb->truesize).

    >>> [truesize(octets, "6.18") for octets in (28, 276, 1500, 5020)]
    [832, 1280, 2304, 9024]
    """
    pages = -(-(packet_octets + ETH_HLEN) // PAGE_OCTETS) if _is_paged(packet_octets) else 0
    return SKB_OCTETS + head_octets(packet_octets, kernel) + pages * PAGE_OCTETS


def tailroom(packet_octets: int, kernel: str) -> int:
    """Return how many octets find room behind a received IP packet (skb_tailroom).

    >>> [tailroom(octets, "6.1") for octets in (28, 100, 176, 177, 1500, 5020)]
    [148, 76, 512, 511, 212, 0]
    """
    if _is_paged(packet_octets):
        return 0
    end = head_octets(packet_octets, kernel) - SHARED_INFO_OCTETS
    return end - HEADROOM_OCTETS - packet_octets


def pages_of(packet_octets: int) -> int:
    """Return how many pieces of pages a received IP packet has; 0 when it is in one buffer."""
    if not _is_paged(packet_octets):
        return 0
    return -(-packet_octets // PAGE_OCTETS)
