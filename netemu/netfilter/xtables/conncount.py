"""Counting connections by a key, for connlimit.

Kernel: net/netfilter/nf_conncount.c (count_tree, __nf_conncount_add, nf_conncount_gc_list).

Theory of operation: each key has a list of connections, known by their original tuple and zone. The
first packet of a connection adds it; before that, at most once in a jiffy, the list loses what
conntrack no longer knows and TCP connections in TIME_WAIT or CLOSE. A packet of a connection that
conntrack has already confirmed adds it only where its key was never seen; else it only cleans the
list. A list that is empty then counts 0, for which connlimit drops the packet.

Differs from Linux: there a list is cleaned of a limited number of connections at a time, and an
empty one is removed when a new key happens to share its slot; here it stays.
"""

from __future__ import annotations

from typing import Final

from netemu.net import Net
from netemu.netfilter.conntrack.connection import (
    DEFAULT_ZONE,
    IPS_CONFIRMED,
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

_CLOSED: Final = (TcpState.TIME_WAIT, TcpState.CLOSE)


class _List:
    """The connections of one key (struct nf_conncount_list)."""

    __slots__ = ("cleaned", "members")

    def __init__(self, now: int) -> None:
        """Start empty, as if just cleaned."""
        self.cleaned = now
        """last_gc: the jiffy of the last cleaning."""
        self.members: list[tuple[Tuple, Zone]] = []


class ConnectionCount:
    """The keys of one rule (struct nf_conncount_data)."""

    __slots__ = ("_lists", "net")

    def __init__(self, net: Net) -> None:
        """Start without keys (nf_conncount_init)."""
        self.net = net
        self._lists: dict[Key, _List] = {}

    def count(self, key: Key, skb: Skb) -> int:
        """Add the packet's connection and count those of its key; 0 means drop the packet."""
        known = self._known(skb)
        if known is None:
            return 0
        tuple_, zone, connection = known
        found = self._lists.get(key)
        if found is None:
            found = self._lists[key] = _List(self.net.clock.jiffies)
            found.members.append((tuple_, zone))
        elif connection is None or not connection.status & IPS_CONFIRMED:
            self._add(found, tuple_, zone, looking=False)
        elif skb.device is not None and skb.device.loopback:
            self._add(found, tuple_, zone, looking=True)
        else:
            self._clean(found)
        return len(found.members)

    def size(self, key: Key) -> int:
        """Return how many connections a key has, without a look at conntrack."""
        found = self._lists.get(key)
        return len(found.members) if found is not None else 0

    def _known(self, skb: Skb) -> tuple[Tuple, Zone, Connection | None] | None:
        """Return original tuple and zone of a packet (get_ct_or_tuple_from_skb)."""
        connection, _ = nf_ct_get(skb)
        if connection is not None:
            return connection.original, connection.zone, connection
        tuple_ = _tuple_of(skb)
        if tuple_ is None:
            return None
        found = self.net.generic(Conntrack).find(tuple_)
        if found is None:
            return tuple_, DEFAULT_ZONE, None
        return found[0].original, found[0].zone, found[0]

    def _add(self, connections: _List, tuple_: Tuple, zone: Zone, *, looking: bool) -> None:
        """Add a connection unless it is there (__nf_conncount_add)."""
        if looking or connections.cleaned != self.net.clock.jiffies:
            self._clean(connections, force=True)
            if (tuple_, zone) in connections.members:
                return
        connections.members.append((tuple_, zone))

    def _clean(self, connections: _List, *, force: bool = False) -> None:
        """Throw out what is over (find_or_evict, already_closed)."""
        now = self.net.clock.jiffies
        if connections.cleaned == now and not force:
            return
        connections.cleaned = now
        connections.members = [member for member in connections.members if self._alive(*member)]

    def _alive(self, tuple_: Tuple, zone: Zone) -> bool:
        found = self.net.generic(Conntrack).find(tuple_, zone)
        if found is None:
            return False
        tcp = found[0].tcp
        return tcp is None or tcp.state not in _CLOSED


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
