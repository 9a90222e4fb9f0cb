"""ARP for IPv4 over Ethernet (RFC 826), read in place."""

from __future__ import annotations

from netemu.wire.fields import get16, set16

HTYPE, PTYPE, HLEN, PLEN, OPERATION = 0, 2, 4, 5, 6
SENDER_MAC, SENDER_IP, TARGET_MAC, TARGET_IP = 8, 14, 18, 24
"""Offsets of the fields."""

LENGTH = 28
"""Octets of an Ethernet/IPv4 ARP message."""

ARPHRD_ETHER = 1
ARPHRD_IEEE802 = 6
ARPOP_REQUEST = 1
ARPOP_REPLY = 2


class ARP:
    """A view of an ARP message at `offset` of `data`."""

    __slots__ = ("data", "offset")

    def __init__(self, data: bytearray, offset: int = 0) -> None:
        """Look at `data`; nothing is copied or checked."""
        self.data = data
        self.offset = offset

    @property
    def htype(self) -> int:
        """Hardware type; 1 for Ethernet."""
        return get16(self.data, self.offset + HTYPE)

    @property
    def ptype(self) -> int:
        """Protocol type; 0x0800 for IPv4."""
        return get16(self.data, self.offset + PTYPE)

    @property
    def hlen(self) -> int:
        """Octets of a hardware address."""
        return self.data[self.offset + HLEN]

    @property
    def plen(self) -> int:
        """Octets of a protocol address."""
        return self.data[self.offset + PLEN]

    @property
    def operation(self) -> int:
        """1 request, 2 reply."""
        return get16(self.data, self.offset + OPERATION)

    @property
    def sender_mac(self) -> bytes:
        """Hardware address of the sender (sha)."""
        return self._octets(SENDER_MAC, 6)

    @property
    def sender_ip(self) -> bytes:
        """Protocol address of the sender (sip)."""
        return self._octets(SENDER_IP, 4)

    @property
    def target_mac(self) -> bytes:
        """Hardware address of the target (tha)."""
        return self._octets(TARGET_MAC, 6)

    @property
    def target_ip(self) -> bytes:
        """Protocol address of the target (tip)."""
        return self._octets(TARGET_IP, 4)

    def _octets(self, field: int, length: int) -> bytes:
        start = self.offset + field
        return bytes(self.data[start : start + length])


def build_arp(
    *, operation: int, sender_mac: bytes, sender_ip: bytes, target_mac: bytes, target_ip: bytes
) -> bytearray:
    """Return a message without link header."""
    message = bytearray(LENGTH)
    set16(message, HTYPE, ARPHRD_ETHER)
    set16(message, PTYPE, 0x0800)
    message[HLEN] = 6
    message[PLEN] = 4
    set16(message, OPERATION, operation)
    message[SENDER_MAC:] = sender_mac + sender_ip + target_mac + target_ip
    return message
