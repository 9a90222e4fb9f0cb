"""Ethernet II headers (IEEE 802.3) with at most one 802.1Q tag kept apart.

Kernel: include/uapi/linux/if_ether.h, include/linux/if_vlan.h.
"""

from __future__ import annotations

from netemu.wire.fields import Octets

HEADER_LEN = 14
VLAN_HEADER_LEN = 4


def ethernet_header(dst: bytes, src: bytes, ethertype: int) -> bytes:
    """Return the 14 octets before the payload."""
    return dst + src + ethertype.to_bytes(2, "big")


def destination_of(frame: Octets) -> bytes:
    """Return the destination MAC of a frame."""
    return bytes(frame[:6])


def source_of(frame: Octets) -> bytes:
    """Return the source MAC of a frame."""
    return bytes(frame[6:12])


def ethertype_of(frame: Octets) -> int:
    """Return the ethertype, or 0x8100 for a tagged frame."""
    return (frame[12] << 8) | frame[13]


def insert_tag(header: bytes, tci: int, proto: int = 0x8100) -> bytes:
    """Return an 18-octet header: `header` with an 802.1Q tag (vlan_insert_tag)."""
    return header[:12] + proto.to_bytes(2, "big") + tci.to_bytes(2, "big") + header[12:]
