"""Kinds of values that name an address, a network, a MAC address or a device.

Kernel: none; xtables_numeric_to_ipaddr, xtables_numeric_to_ipmask, xtables_ipparse_multiple,
xtables_parse_interface and XTTYPE_ETHERMAC of libxtables.

iptables reads IPv4 addresses its own way: every part is a number of strtoul(3), and missing parts
are zero (`10.1` is 10.1.0.0, `010.0x1` is 8.1.0.0). Host names are not resolved here: a rule must
mean the same on every machine.
"""

from __future__ import annotations

import re

from msgspec import Struct

from netemu.errors import RulesetError
from netemu.netfilter.hook import Family
from netemu.netfilter.xtables.kinds import Kind, OptionCall, c_integer, octets_of, shape
from netemu.wire.address import format_address, format_mac, mask_of, parse_address, parse_mac

IFNAMSIZ = 16
"""Octets of a device name with its closing NUL (include/uapi/linux/if.h)."""

_OCTETS = {str(octet): octet for octet in range(256)}

_PLAIN = re.compile(
    r"(0|[1-9][0-9]{0,2})\.(0|[1-9][0-9]{0,2})\.(0|[1-9][0-9]{0,2})\.(0|[1-9][0-9]{0,2})"
)


_OCTET = "(?:1[0-9]{0,2}|2(?:[0-4][0-9]?|5[0-5]?|[6-9])?|[3-9][0-9]?|0)"
_PIECE = "[0-9a-fA-F]{1,4}"
_PLAIN_ADDRESS = {
    Family.IPV4: rf"{_OCTET}\.{_OCTET}\.{_OCTET}\.{_OCTET}",
    Family.IPV6: "(?:"
    + "|".join(
        f"(?:{_PIECE}:){{{before}}}:(?:(?:{_PIECE}:){{0,{5 - before}}}{_PIECE})?"
        for before in range(1, 6)
    )
    + f"|(?:{_PIECE}:){{7}}{_PIECE})",
}
_PLAIN_LENGTH = {
    Family.IPV4: "(?:3[0-2]?|[12][0-9]?|[4-9])",
    Family.IPV6: "(?:1(?:[01][0-9]?|2[0-8]?|[3-9])?|[2-9][0-9]?)",
}

PLAIN_INTERFACE = r"[0-9A-Za-z._-]{1,14}\+?"
"""Pattern of device names that are no trouble to anybody."""


def plain_address(family: Family) -> str:
    """Return a pattern of addresses that `address_octets` and inet_pton(3) take."""
    return _PLAIN_ADDRESS[family]


def plain_network(family: Family) -> str:
    """Return a pattern of networks that `read_network` takes and that do not match everything."""
    return f"{_PLAIN_ADDRESS[family]}(?:/{_PLAIN_LENGTH[family]})?"


class Network(Struct, frozen=True):
    """An address under a mask, both of the family's length."""

    address: bytes
    """Already masked."""
    mask: bytes


def ipv4_octets(text: str, *, whole: bool = False) -> bytes | None:
    """Read an IPv4 address as xtables_numeric_to_ipaddr does; `whole` asks for all four parts.

    >>> ipv4_octets("10.1").hex(), ipv4_octets("10.0.0.256")
    ('0a010000', None)
    """
    plain = _PLAIN.fullmatch(text)
    if plain is None and shape("DOTTED").fullmatch(text) is None:
        return None
    numbers = [int(part) for part in plain.groups()] if plain else _odd_parts(text)
    if max(numbers) > 0xFF or (whole and len(numbers) < 4):
        return None
    return bytes(numbers).ljust(4, b"\0")


def dotted_octets(text: str) -> bytes | None:
    """Read an IPv4 address as inet_pton(3) does: four decimal parts without leading zeros.

    >>> dotted_octets("10.0.0.1").hex(), dotted_octets("10.1"), dotted_octets("010.0.0.1")
    ('0a000001', None, None)
    """
    parts = text.split(".")
    if len(parts) != 4:
        return None
    try:
        return bytes([_OCTETS[part] for part in parts])
    except KeyError:
        return None


def _odd_parts(text: str) -> list[int]:
    return [c_integer(part) for part in text.split(".")]


def ipv6_octets(text: str) -> bytes | None:
    """Read an IPv6 address as inet_pton does."""
    if shape("IPV6").fullmatch(text) is None:
        return None
    try:
        packed = parse_address(text)
    except ValueError:
        return None
    return packed if len(packed) == 16 else None


def address_octets(text: str, family: Family) -> bytes | None:
    """Read an address of one family; None when it is none."""
    return ipv6_octets(text) if family == Family.IPV6 else ipv4_octets(text)


def octets_in(family: Family) -> int:
    """Return how many octets an address of the family has."""
    return 16 if family == Family.IPV6 else 4


def mask_octets(text: str, family: Family) -> bytes | None:
    """Read a mask: a prefix length, or an address used as a mask (parse_ipmask)."""
    octets = octets_in(family)
    if len(text) <= 3 and text.isascii() and text.isdigit() and (text == "0" or text[0] != "0"):
        length = int(text)
        return mask_of(length, octets) if length <= octets * 8 else None
    dotted = ipv6_octets(text) if octets == 16 else ipv4_octets(text, whole=True)
    if dotted is not None or shape("NUMBER").fullmatch(text) is None:
        return dotted
    length = c_integer(text)
    return mask_of(length, octets) if length <= octets * 8 else None


def prefix_length(mask: bytes) -> int | None:
    """Return the prefix length of a contiguous mask, None for any other.

    >>> prefix_length(bytes([255, 255, 240, 0])), prefix_length(bytes([255, 0, 255, 0]))
    (20, None)
    """
    bits = len(mask) * 8
    number = int.from_bytes(mask, "big")
    host = number ^ ((1 << bits) - 1)
    return None if host & (host + 1) else bits - host.bit_length()


def under_mask(address: bytes, mask: bytes) -> bytes:
    """Return the address with the bits outside the mask cleared."""
    masked = int.from_bytes(address, "big") & int.from_bytes(mask, "big")
    return masked.to_bytes(len(address), "big")


_HOST = b"\xff" * 4


def _read_host(text: str) -> Network | None:
    """Read `a.b.c.d/32` or `a.b.c.d` in its plainest form, which large rulesets are full of."""
    parts = text.removesuffix("/32").split(".")
    if len(parts) != 4:
        return None
    try:
        return Network(bytes([_OCTETS[part] for part in parts]), _HOST)
    except KeyError:
        return None


def read_network(text: str, family: Family) -> Network:
    """Read `ADDRESS[/MASK]` as `-s` does; a zero mask makes the address irrelevant."""
    if family == Family.IPV4:
        host = _read_host(text)
        if host is not None:
            return host
    address_text, slash, mask_text = text.rpartition("/")
    if not slash:
        address_text = text
        mask: bytes | None = b"\xff" * octets_in(family)
    else:
        mask = mask_octets(mask_text, family)
        if mask is None:
            raise RulesetError(f"invalid mask `{mask_text}' specified; {_MASKS[family]}")
    if not any(mask or b""):
        return Network(bytes(octets_in(family)), bytes(octets_in(family)))
    address = address_octets(address_text, family)
    if address is None:
        raise RulesetError(
            f"host/network `{address_text}' not found; names are not resolved, "
            f"write an {_NAMES[family]} address"
        )
    assert mask is not None
    return Network(under_mask(address, mask), mask)


_NAMES = {Family.IPV4: "IPv4", Family.IPV6: "IPv6"}
_MASKS = {
    Family.IPV4: "a prefix length of 0-32 or a dotted mask would do",
    Family.IPV6: "a prefix length of 0-128 would do",
}


def show_network(address: bytes, mask: bytes) -> str:
    """Print as `-s` is printed: a prefix length, or the mask itself when it has gaps."""
    length = prefix_length(mask)
    return f"{format_address(address)}/{format_address(mask) if length is None else length}"


class Mac(Kind[bytes]):
    """A MAC address (XTTYPE_ETHERMAC)."""

    form = "XX:XX:XX:XX:XX:XX"
    terminal = "MAC"

    def refusal(self, text: str, call: OptionCall) -> str:
        """Word it as xtopt_parse_ethermac does."""
        return f"Invalid MAC address specified: `{text}'; six octets in hexadecimal would do"

    def read(self, text: str, call: OptionCall) -> bytes:
        """Convert six octets."""
        return parse_mac(text)

    def show(self, value: bytes) -> str:
        """Print with leading zeros."""
        return format_mac(value)


class Interface(Kind[str]):
    """A device name, `+` at its end for any that begins so (xtables_parse_interface)."""

    form = "NAME[+]"
    terminal = "INTERFACE"

    def read(self, text: str, call: OptionCall) -> str:
        """Check the length in octets."""
        check_interface(text)
        return text

    def show(self, value: str) -> str:
        """Print as written; never quoted."""
        return value


def check_interface(name: str) -> None:
    """Refuse a name that does not fit."""
    if len(octets_of(name)) + 1 > IFNAMSIZ:
        raise RulesetError(
            f"interface name `{name}' must be shorter than IFNAMSIZ ({IFNAMSIZ - 1})"
        )
