"""IPv4, IPv6 and MAC addresses: packed bytes inside, text at the edge.

The length of the bytes says the family: 4 for IPv4, 16 for IPv6, 6 for a MAC. Text forms follow
inet_pton(3), RFC 5952 and ip(8).
"""

from __future__ import annotations

import ipaddress
import re

_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_QUAD = re.compile(rf"(?:{_OCTET}\.){{3}}{_OCTET}")


def parse_address(text: str) -> bytes:
    """Return the packed form of an IPv4 or IPv6 address.

    Raises ValueError for anything else.

    >>> parse_address("10.0.0.1").hex()
    '0a000001'
    """
    if is_dotted_quad(text):
        return bytes(map(int, text.split(".")))
    return ipaddress.ip_address(text).packed


def is_dotted_quad(text: str) -> bool:
    """Return whether a text is an IPv4 address as inet_pton(3) takes it, without building one.

    >>> is_dotted_quad("10.0.0.1"), is_dotted_quad("10.0.0.01"), is_dotted_quad("10.0.0.256")
    (True, False, False)
    """
    return _QUAD.fullmatch(text) is not None


def format_address(address: bytes) -> str:
    """Return the text of a packed IPv4 or IPv6 address, as inet_ntop(3) of glibc prints it.

    >>> format_address(bytes([10, 0, 0, 1]))
    '10.0.0.1'
    >>> format_address(bytes(10) + bytes([0xFF, 0xFF, 10, 0, 0, 1]))
    '::ffff:10.0.0.1'
    """
    if len(address) == 4:
        return f"{address[0]}.{address[1]}.{address[2]}.{address[3]}"
    if not any(address[:10]) and (
        address[10:12] == b"\xff\xff" or (not any(address[10:12]) and any(address[12:14]))
    ):
        mapped = "::ffff:" if address[10] else "::"
        return mapped + ".".join(str(octet) for octet in address[12:])
    return str(ipaddress.IPv6Address(bytes(address)))


def parse_mac(text: str) -> bytes:
    """Return the 6 octets of a colon-separated MAC address.

    Raises ValueError for anything else.
    """
    parts = text.split(":")
    if len(parts) != 6 or any(not 1 <= len(part) <= 2 for part in parts):
        message = f"{text!r} is no MAC address"
        raise ValueError(message)
    return bytes(int(part, 16) for part in parts)


def format_mac(mac: bytes) -> str:
    """Return a MAC address as ip(8) prints it."""
    return bytes(mac).hex(":")


def parse_prefix(text: str) -> tuple[bytes, int]:
    r"""Return address (host bits kept) and prefix length; a bare address is a host's.

    Raises ValueError for anything else.

    >>> parse_prefix("10.0.0.0/8")
    (b'\n\x00\x00\x00', 8)
    """
    address_text, slash, length_text = text.partition("/")
    address = parse_address(address_text)
    bits = len(address) * 8
    length = int(length_text) if slash else bits
    if not 0 <= length <= bits:
        message = f"prefix length {length} is not within 0-{bits}"
        raise ValueError(message)
    return address, length


def mask_of(prefix_len: int, octets: int = 4) -> bytes:
    """Return the netmask of a prefix length.

    >>> mask_of(20).hex()
    'fffff000'
    """
    bits = octets * 8
    return (((1 << prefix_len) - 1) << (bits - prefix_len)).to_bytes(octets, "big")


def network_of(address: bytes, prefix_len: int) -> bytes:
    """Return `address` with its host bits cleared."""
    octets = len(address)
    host_bits = octets * 8 - prefix_len
    return (int.from_bytes(address, "big") >> host_bits << host_bits).to_bytes(octets, "big")


def in_prefix(address: bytes, prefix: bytes, prefix_len: int) -> bool:
    """Return whether `address` lies within the prefix (of the same family)."""
    if len(address) != len(prefix):
        return False
    host_bits = len(address) * 8 - prefix_len
    difference = int.from_bytes(address, "big") ^ int.from_bytes(prefix, "big")
    return not difference >> host_bits


def is_multicast_mac(mac: bytes) -> bool:
    """Return whether the group bit is set (broadcast included)."""
    return bool(mac[0] & 1)


def ipv4_is_multicast(address: bytes) -> bool:
    """Return whether it is in 224.0.0.0/4."""
    return address[0] & 0xF0 == 0xE0


def ipv4_is_loopback(address: bytes) -> bool:
    """Return whether it is in 127.0.0.0/8."""
    return address[0] == 127


def ipv4_is_zeronet(address: bytes) -> bool:
    """Return whether it is 0.0.0.0; the rest of 0.0.0.0/8 is ordinary since Linux 5.3."""
    return not any(address)


IPV4_ANY = bytes(4)
IPV4_BROADCAST = b"\xff\xff\xff\xff"
IPV4_LOOPBACK = bytes((127, 0, 0, 1))
