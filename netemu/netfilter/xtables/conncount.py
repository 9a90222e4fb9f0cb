"""Counting connections by a key, for connlimit.

Kernel: net/netfilter/nf_conncount.c (count_tree, __nf_conncount_add, find_or_evict).

Theory of operation: each key has a list of connections, known by their original tuple and zone. A
packet looks through its key's list for its own connection, and throws out on the way what conntrack
no longer knows and TCP connections in TIME_WAIT or CLOSE; then it adds its own unless it was there.
A new connection's packet in the jiffy of the last look adds without looking, so a connection may be
there twice. A packet of an assured connection only throws out; if nothing is left then, the count
is 0, for which connlimit drops it, as it does with the last packets of a connection.

Differs from Linux: there a list is looked through in portions, and an empty one is removed when a
new key happens to share its slot; here it stays.
"""

from __future__ import annotations

from typing import Final

from netemu.net import Net
from netemu.netfilter.conntrack.connection import (
    DEFAULT_ZONE,
    IPS_ASSURED,
    IPS_CONFIRMED,
    IPS_TEMPLATE,
    Connection,
    Zone,
    nf_ct_get,
)
from netemu.netfilter.conntrack.table import Conntrack
from netemu.netfilter.conntrack.tcp import TcpState
from netemu.netfilter.conntrack.tuple import PORT_PROTOCOLS, Tuple, get_l4proto, get_tuple
from netemu.netfilter.hook import Family
from netemu.netfilter.xtables.header import destination_address, source_address
from netemu.netfilter.xtables.ip6 import ipv6_skip_exthdr
from netemu.skb import ETH_P_IPV6, Skb

Key = tuple[bytes, int]
"""A masked address and a zone's number."""

Member = tuple[Tuple, Zone]

_CLOSED: Final = (TcpState.TIME_WAIT, TcpState.CLOSE)


class _List:
    """The connections of one key (struct nf_conncount_list)."""

    __slots__ = ("looked", "members")

    def __init__(self, now: int) -> None:
        """Start empty, as if just looked through."""
        self.looked = now
        """last_gc: the jiffy of the last whole look."""
        self.members: list[Member] = []


class ConnectionCount:
    """The keys of one rule (struct nf_conncount_data)."""

    __slots__ = ("_lists", "net")

    def __init__(self, net: Net) -> None:
        """Start without keys (nf_conncount_init)."""
        self.net = net
        self._lists: dict[Key, _List] = {}

    def count(self, key: Key, skb: Skb) -> int:
        """Add the packet's connection and count those of its key; 0 means drop the packet."""
        connection, _ = nf_ct_get(skb)
        member = _member(skb, connection)
        if member is None:
            return 0
        if connection is None or connection.status & IPS_TEMPLATE:
            # INVALID, or before conntrack in table raw: perhaps it knows the connection, which
            # then is a member by this packet's own tuple, too.
            entry = self.net.generic(Conntrack).find(*member)
            connection = entry[0] if entry is not None else None
            if connection is not None:
                member = member[0], connection.zone
        now = self.net.clock.jiffies
        found = self._lists.get(key)
        if found is None:
            found = self._lists[key] = _List(now)
            found.members.append(member)
        elif connection is None or not connection.status & IPS_CONFIRMED:
            if found.looked == now:
                found.members.append(member)
            else:
                self._add(found, member)
        elif _from_outside(skb) and connection.status & IPS_ASSURED:
            if found.looked != now:
                self._look(found, None)
                found.looked = now
        else:
            self._add(found, member)
        return len(found.members)

    def size(self, key: Key) -> int:
        """Return how many connections a key has, without a look at conntrack."""
        found = self._lists.get(key)
        return len(found.members) if found is not None else 0

    def _add(self, connections: _List, member: Member) -> None:
        """Add a connection unless a look finds it."""
        if not self._look(connections, member):
            connections.looked = self.net.clock.jiffies
            connections.members.append(member)

    def _look(self, connections: _List, member: Member | None) -> bool:
        """Return whether a connection is there; throw out what is over on the way."""
        table = self.net.generic(Conntrack)
        kept: list[Member] = []
        for place, other in enumerate(connections.members):
            found = table.find(*other)
            if found is not None and other == member:
                connections.members[:place] = kept
                return True
            if found is not None and not _closed(found[0]):
                kept.append(other)
        connections.members = kept
        return False


def _member(skb: Skb, connection: Connection | None) -> Member | None:
    """Return original tuple and zone of a packet."""
    if connection is not None and not connection.status & IPS_TEMPLATE:
        return connection.original, connection.zone
    tuple_ = _tuple_of(skb)
    zone = DEFAULT_ZONE if connection is None else connection.zone
    return (tuple_, zone) if tuple_ is not None else None


def _from_outside(skb: Skb) -> bool:
    """Return whether a packet did not come in by the loopback device."""
    return skb.device is None or not skb.device.loopback


def _closed(connection: Connection) -> bool:
    """Return whether a TCP connection is over (already_closed)."""
    return connection.tcp is not None and connection.tcp.state in _CLOSED


def _tuple_of(skb: Skb) -> Tuple | None:
    """Return the tuple of a packet that conntrack does not know (nf_ct_get_tuplepr)."""
    data = skb.data
    if skb.protocol == ETH_P_IPV6:
        header = ipv6_skip_exthdr(data)
        if header is None:
            return None
        source = source_address(skb, Family.IPV6)
        destination = destination_address(skb, Family.IPV6)
        ports = data[header.offset : header.offset + 4]
        if header.protocol not in PORT_PROTOCOLS or len(ports) < 4:
            return Tuple(source, destination, header.protocol, 0, 0)
        sport, dport = ports[0] << 8 | ports[1], ports[2] << 8 | ports[3]
        return Tuple(source, destination, header.protocol, sport, dport)
    protocol, offset = get_l4proto(data)
    return get_tuple(data, 0, offset, protocol) if offset else None
