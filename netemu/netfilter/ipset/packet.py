"""What a packet has that a set may look at.

Kernel: net/netfilter/ipset/ip_set_getport.c (get_port, ip_set_get_ip4_port), ip_set.h (ip4addrptr).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from netemu.netfilter.hook import Family
from netemu.skb import ETH_HLEN, Skb
from netemu.wire.ipv4 import Protocol

WITH_PORTS = frozenset({Protocol.TCP, Protocol.SCTP, Protocol.UDP, Protocol.UDPLITE})
"""Protocols that have ports (ip_set_proto_with_ports)."""

_HEADER_OCTETS = {
    Protocol.TCP: 20,
    Protocol.SCTP: 12,
    Protocol.UDP: 8,
    Protocol.UDPLITE: 8,
    Protocol.ICMP: 8,
    Protocol.ICMPV6: 8,
}
"""What must be there of a header before its ports are read."""


class Transport(NamedTuple):
    """Where the transport header of a packet stands."""

    protocol: int
    offset: int
    later_fragment: bool = False


class Packet:
    """A packet in a rule, as sets see it."""

    __slots__ = ("family", "in_name", "out_name", "skb", "transport")

    def __init__(
        self,
        skb: Skb,
        family: Family,
        in_name: str,
        out_name: str,
        transport: Callable[[], Transport | None],
    ) -> None:
        """Take the rule's view; `transport` returns None when the headers end too early."""
        self.skb = skb
        self.family = family
        self.in_name = in_name
        self.out_name = out_name
        self.transport = transport

    def address(self, *, src: bool) -> bytes:
        """Return the source or destination address (ip4addrptr, ip6addrptr)."""
        data = self.skb.data
        if self.family == Family.IPV6:
            return bytes(data[8:24] if src else data[24:40])
        return bytes(data[12:16] if src else data[16:20])

    def ether(self, *, src: bool) -> bytes | None:
        """Return a MAC of the link header; None without one, or when it is all zero."""
        header = self.skb.mac_header
        if len(header) < ETH_HLEN:
            return None
        mac = bytes(header[6:12] if src else header[:6])
        return mac if any(mac) else None

    def device(self, *, src: bool) -> str:
        """Return the name of the device in or out; empty when there is none."""
        return self.in_name if src else self.out_name

    def port(self, *, src: bool) -> tuple[int, int] | None:
        """Return port (of ICMP: type and code) and protocol; None where there are none."""
        transport = self.transport()
        if transport is None or not transport.protocol:
            return None
        protocol, offset, later_fragment = transport
        room = _HEADER_OCTETS.get(Protocol(protocol)) if protocol in _KNOWN else None
        if room is None:
            return 0, protocol
        data = self.skb.data
        if later_fragment:
            # An ICMPv6 header in an IPv4 packet's later fragment is not looked for.
            return (0, protocol) if protocol == Protocol.ICMPV6 else None
        if len(data) < offset + room:
            return None
        if protocol not in WITH_PORTS or src:
            at = offset
        else:
            at = offset + 2
        return data[at] << 8 | data[at + 1], protocol


_KNOWN = frozenset(int(protocol) for protocol in _HEADER_OCTETS)
