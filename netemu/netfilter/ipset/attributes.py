"""What a command says about a set or an element: the netlink attributes of ipset, as plain values.

Kernel: include/uapi/linux/netfilter/ipset/ip_set.h (IPSET_ATTR_*).

None means that the attribute is not there. Addresses are packed, in network order; numbers are
plain. The same values come back when a set is listed.
"""

from __future__ import annotations

from msgspec import Struct

from netemu.wire.address import format_address, format_mac
from netemu.wire.ipv4 import Protocol


class CreateAttributes(Struct, kw_only=True):
    """Of a set."""

    ip: bytes | None = None
    ip_to: bytes | None = None
    cidr: int | None = None
    port: int | None = None
    port_to: int | None = None
    hashsize: int | None = None
    maxelem: int | None = None
    bucketsize: int | None = None
    initval: int | None = None
    markmask: int | None = None
    netmask: int | None = None
    bitmask: bytes | None = None
    size: int | None = None
    timeout: int | None = None
    counters: bool = False
    comment: bool = False
    skbinfo: bool = False
    forceadd: bool = False


class ElementAttributes(Struct, kw_only=True):
    """Of an element."""

    ip: bytes | None = None
    ip_to: bytes | None = None
    cidr: int | None = None
    ip2: bytes | None = None
    ip2_to: bytes | None = None
    cidr2: int | None = None
    port: int | None = None
    port_to: int | None = None
    proto: int | None = None
    mark: int | None = None
    ether: bytes | None = None
    iface: str | None = None
    name: str | None = None
    nameref: str | None = None
    before: bool = False
    physdev: bool = False
    nomatch: bool = False
    wildcard: bool = False
    timeout: int | None = None
    packets: int | None = None
    bytes: int | None = None
    adt_comment: str | None = None
    skbmark: int | None = None
    """Mark in the upper, mask in the lower 32 bits."""
    skbprio: int | None = None
    skbqueue: int | None = None


def describe(said: ElementAttributes) -> str:
    """Return an element in a few words, for a trace.

    >>> describe(ElementAttributes(ip=bytes((10, 0, 0, 1)), cidr=32, port=53, proto=17))
    '10.0.0.1,udp:53'
    """
    parts = []
    if said.ip is not None:
        parts.append(_network(said.ip, said.cidr))
    if said.port is not None:
        port = str(said.port)
        if said.proto in {Protocol.ICMP, Protocol.ICMPV6}:
            port = f"{said.port >> 8}/{said.port & 255}"
        parts.append(port if said.proto is None else f"{_protocol(said.proto)}:{port}")
    if said.ether is not None:
        parts.append(format_mac(said.ether))
    if said.mark is not None:
        parts.append(f"0x{said.mark:08x}")
    if said.iface is not None:
        parts.append(f"{said.iface}+" if said.wildcard else said.iface)
    if said.ip2 is not None:
        parts.append(_network(said.ip2, said.cidr2))
    return ",".join(parts) + (" nomatch" if said.nomatch else "")


def _network(address: bytes, cidr: int | None) -> str:
    text = format_address(address)
    return text if cidr in {None, len(address) * 8} else f"{text}/{cidr}"


def _protocol(number: int) -> str:
    try:
        return Protocol(number).name.lower()
    except ValueError:
        return str(number)
