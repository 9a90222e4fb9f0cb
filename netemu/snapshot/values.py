"""Words and numbers of iproute2's output, both ways: addresses, tables, scopes, protocols.

Tools: iproute2 lib/rt_names.c and its /etc/iproute2 defaults, lib/ll_proto.c.
"""

from __future__ import annotations

from netemu.snapshot.document import BadValueError
from netemu.wire.address import parse_address, parse_mac, parse_prefix

TABLES = {"unspec": 0, "default": 253, "main": 254, "local": 255}
"""Names of /etc/iproute2/rt_tables as shipped."""

TABLE_NAMES = {number: name for name, number in TABLES.items()}

FOREIGN_TABLE = 0x10000
"""First number given to tables that are named by a node's own rt_tables file."""

VLAN_PROTOCOLS = {"802.1Q": 0x8100, "802.1ad": 0x88A8}
"""Ethertypes of VLAN tags."""

ROUTE_KINDS = frozenset(
    {
        "unicast",
        "local",
        "broadcast",
        "anycast",
        "multicast",
        "blackhole",
        "unreachable",
        "prohibit",
        "throw",
    }
)
"""RTN_* of include/uapi/linux/rtnetlink.h, less nat and xresolve, which the kernel has not."""

SERVICE_FIELDS = {
    "lowdelay": 0x10,
    "throughput": 0x08,
    "reliability": 0x04,
    "default": 0,
    "CS1": 0x20,
    "CS2": 0x40,
    "CS3": 0x60,
    "CS4": 0x80,
    "CS5": 0xA0,
    "CS6": 0xC0,
    "CS7": 0xE0,
    "AF11": 0x28,
    "AF12": 0x30,
    "AF13": 0x38,
    "AF21": 0x48,
    "AF22": 0x50,
    "AF23": 0x58,
    "AF31": 0x68,
    "AF32": 0x70,
    "AF33": 0x78,
    "AF41": 0x88,
    "AF42": 0x90,
    "AF43": 0x98,
    "EF": 0xB8,
}
"""Names of /etc/iproute2/rt_dsfield as shipped."""

STP_STATES = ("disabled", "listening", "learning", "forwarding", "blocking")
"""By number: BR_STATE_* of include/uapi/linux/if_bridge.h."""

PROTOCOLS = {
    "icmp": 1,
    "igmp": 2,
    "tcp": 6,
    "udp": 17,
    "dccp": 33,
    "gre": 47,
    "esp": 50,
    "ah": 51,
    "ipv6-icmp": 58,
    "ospf": 89,
    "sctp": 132,
    "udplite": 136,
}
"""IP protocols by the names of Debian's /etc/protocols that rules mention."""

PROTOCOL_NAMES = {number: name for name, number in PROTOCOLS.items()}


class TableNumbers:
    """Numbers of routing tables; names unknown to iproute2 get their own, in order of mention."""

    def __init__(self) -> None:
        """Know no foreign name yet."""
        self.foreign: dict[str, int] = {}

    def number(self, text: str) -> int:
        """Return the number of a table that is printed as `text`."""
        if text.isdecimal():
            return int(text)
        if text in TABLES:
            return TABLES[text]
        return self.foreign.setdefault(text, FOREIGN_TABLE + len(self.foreign))


def address_of(text: str) -> bytes:
    """Return a packed address."""
    try:
        return parse_address(text)
    except ValueError:
        message = f"{text!r} is no IP address"
        raise BadValueError(message, text) from None


def prefix_of(text: str, *, family: int = 4) -> tuple[bytes, int]:
    """Return a packed prefix; `default` is that of `family`."""
    if text in {"default", "all", "any"}:
        return bytes(4 if family == 4 else 16), 0
    try:
        return parse_prefix(text)
    except ValueError:
        message = f"{text!r} is no prefix"
        raise BadValueError(message, text) from None


def service_field_of(text: str) -> int:
    """Return a TOS octet by number or name."""
    if text in SERVICE_FIELDS:
        return SERVICE_FIELDS[text]
    return number_of(text, "TOS")


def mac_of(text: str) -> bytes:
    """Return a packed MAC address; empty for addresses of links that are not Ethernet."""
    try:
        return parse_mac(text)
    except ValueError:
        return b""


def number_of(text: str, what: str) -> int:
    """Return a decimal or 0x number."""
    try:
        return int(text, 0)
    except ValueError:
        message = f"{text!r} is no {what}"
        raise BadValueError(message, text) from None


def protocol_of(text: str) -> int:
    """Return an IP protocol's number by number or name."""
    if text in PROTOCOLS:
        return PROTOCOLS[text]
    return number_of(text, "IP protocol")
