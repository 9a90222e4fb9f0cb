"""Steps that hash types share when they take a command or a packet apart.

Kernel: net/netfilter/ipset/ip_set_hash_*.c (the uadt and kadt functions).
"""

from __future__ import annotations

from collections.abc import Iterator

from netemu.netfilter.ipset.attributes import ElementAttributes
from netemu.netfilter.ipset.errcode import Errno, SetError
from netemu.netfilter.ipset.hash import HashContent
from netemu.netfilter.ipset.packet import WITH_PORTS, Packet
from netemu.netfilter.ipset.prefix import IPV4_MAX, mask_from_to, networks, to_number, to_packed
from netemu.wire.address import network_of
from netemu.wire.ipv4 import Protocol


def said_ip(said: ElementAttributes) -> bytes:
    """Return the first address, which ipset always gives."""
    if said.ip is None:
        raise SetError(Errno.PROTOCOL)
    return said.ip


def said_ip2(said: ElementAttributes) -> bytes:
    """Return the second address."""
    if said.ip2 is None:
        raise SetError(Errno.PROTOCOL)
    return said.ip2


def prefix_length(content: HashContent, cidr: int | None, *, zero: bool = False) -> int:
    """Return a prefix length that was said, a host's if none was; refuse /0 unless `zero`."""
    if cidr is None:
        return content.host_mask
    if cidr > content.host_mask or not (cidr or zero):
        raise SetError(Errno.INVALID_CIDR)
    return cidr


def addresses(ip: bytes, said: ElementAttributes) -> Iterator[bytes]:
    """Yield every IPv4 address of a range or network, each an element of its own."""
    first = last = to_number(ip)
    if said.ip_to is not None:
        first, last = ordered(first, to_number(said.ip_to))
    elif said.cidr is not None:
        first, last = mask_from_to(first, _network(said.cidr))
    for number in range(first, last + 1):
        yield to_packed(number)


def _network(cidr: int) -> int:
    if not cidr:
        raise SetError(Errno.INVALID_CIDR)
    return cidr


def ordered(first: int, last: int) -> tuple[int, int]:
    """Return two ends of a range, the lower one first."""
    return (first, last) if first <= last else (last, first)


def nets(ip: bytes, cidr: int, to: bytes | None) -> Iterator[tuple[bytes, int]]:
    """Yield the network, or the networks that cover a range of IPv4 addresses."""
    if to is None:
        yield network_of(ip, cidr), cidr
        return
    first, last = ordered(to_number(ip), to_number(to))
    if first == 0 and last == IPV4_MAX:
        raise SetError(Errno.HASH_RANGE)
    for number, length in networks(first, last):
        yield to_packed(number), length


def said_port(content: HashContent, said: ElementAttributes) -> tuple[int, int]:
    """Return port and protocol; a protocol without ports has port 0."""
    if said.port is None or said.proto is None:
        raise SetError(Errno.PROTOCOL)
    if said.proto == 0:
        raise SetError(Errno.INVALID_PROTO)
    icmp = Protocol.ICMPV6 if content.host_mask == 128 else Protocol.ICMP
    has_port = said.proto in WITH_PORTS or said.proto == icmp
    return said.port if has_port else 0, said.proto


def ports(port: int, said: ElementAttributes, *, test: bool) -> range:
    """Return the ports of a range; of a test, and without ports, the one."""
    if test or said.port_to is None or said.proto not in WITH_PORTS:
        return range(port, port + 1)
    first, last = ordered(port, said.port_to)
    return range(first, last + 1)


def packet_port(packet: Packet, *, src: bool) -> tuple[int, int]:
    """Return port and protocol of a packet."""
    found = packet.port(src=src)
    if found is None:
        raise SetError(Errno.EINVAL)
    return found


def packet_ether(packet: Packet, *, src: bool) -> bytes:
    """Return a MAC of a packet."""
    found = packet.ether(src=src)
    if found is None:
        raise SetError(Errno.EINVAL)
    return found
