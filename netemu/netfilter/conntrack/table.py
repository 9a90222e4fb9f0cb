"""The conntrack table of one namespace.

Kernel: net/netfilter/nf_conntrack_core.c.

Theory of operation: `_by_tuple` maps (tuple, zone id) to (connection, direction), both directions
of every confirmed entry; it stands for the kernel's hash table. Entries expire lazily: whoever
meets one whose time has come removes it, as the kernel does; the kernel's gc worker, which removes
the rest sooner or later, shows only in dumps, and those skip expired entries anyway.

An entry that has ended is found no more, but it lives on while anybody holds it: its RST that waits
for a neighbour, a connection that it expected. Until then it counts, and NAT remembers its source.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum

from netemu.clock import NSEC_PER_SEC
from netemu.events import ConnectionDestroyed
from netemu.net import Net
from netemu.netfilter.conntrack.connection import (
    DEFAULT_ZONE,
    IPS_CONFIRMED,
    IPS_DYING,
    IPS_FIXED_TIMEOUT,
    IPS_NAT_CLASH,
    IPS_SRC_NAT_DONE,
    ORIGINAL,
    REPLY,
    Connection,
    Counter,
    CtInfo,
    Zone,
    ctinfo_direction,
)
from netemu.netfilter.conntrack.expect import Expectations
from netemu.netfilter.conntrack.helper import Helpers
from netemu.netfilter.conntrack.proc_text import proc_text
from netemu.netfilter.conntrack.text import connection_text, parse_connections
from netemu.netfilter.conntrack.tuple import Tuple
from netemu.skb import Skb

Entry = tuple[Connection, int]
Key = tuple[Tuple, int]


_GRE_TIMEOUT_KEYS = (
    "net.netfilter.nf_conntrack_gre_timeout",
    "net.netfilter.nf_conntrack_gre_timeout_stream",
)


class Form(Enum):
    """How entries are printed; all are read again as a starting state."""

    PLAIN = "conntrack -L"
    EXTENDED = "conntrack -L -o extended"
    PROC = "/proc/net/nf_conntrack"


class Conntrack:
    """The connections of one namespace (struct nf_conntrack_net and its part of the hash)."""

    __slots__ = (
        "_behind",
        "_by_tuple",
        "_connections",
        "_ended",
        "by_source",
        "last_number",
        "net",
        "note",
        "packet",
    )

    def __init__(self, net: Net) -> None:
        """Start empty; found by `net.generic(Conntrack)`."""
        self.net = net
        self._by_tuple: dict[Key, Entry] = {}
        self._behind: dict[Key, list[Entry]] = {}
        """Entries behind one of the same key, latest last: with zones of one direction, a tuple and
        zone id may be the original of one connection and the reply of another."""
        self._connections: dict[Connection, None] = {}
        self._ended: list[Connection] = []
        """Entries that were taken out, but may still be held."""
        self.last_number = 0
        """Of the latest entry that was confirmed."""
        self.by_source: dict[tuple[bytes, int, int, int], list[Connection]] = {}
        """nf_nat's hash by original source (address, part, protocol, zone id); latest first.

        The kernel has unconfirmed entries there too; they belong to packets in flight, of which
        there is one at a time here.
        """
        self.note = ""
        """What log_invalid would say about the packet at hand."""
        self.packet: Skb | None = None
        """The packet at hand, so that removing an expired entry can be told."""

    @property
    def count(self) -> int:
        """Return how many entries there are, with those that have ended and are held."""
        self.settle()
        return len(self._connections) + len(self._ended)

    def __len__(self) -> int:
        """Return the number of entries that a dump would show."""
        return sum(1 for _ in self)

    def __iter__(self) -> Iterator[Connection]:
        """Go through the entries that a dump shows, oldest first; expired ones are removed."""
        for connection in list(self._connections):
            if self.expired(connection):
                nf_ct_delete(self.net, connection, "timeout")
            elif not connection.status & IPS_NAT_CLASH:
                yield connection

    def expired(self, connection: Connection) -> bool:
        """Return whether the time of a confirmed entry has come (nf_ct_is_expired)."""
        return connection.timeout <= self.net.clock.jiffies

    def expires_s(self, connection: Connection) -> int:
        """Return the whole seconds that an entry has left (nf_ct_expires / HZ)."""
        clock = self.net.clock
        left = connection.timeout
        if connection.status & IPS_CONFIRMED:
            left -= clock.jiffies
        return max(left, 0) // clock.hz

    def find(self, tuple_: Tuple, zone: Zone = DEFAULT_ZONE) -> Entry | None:
        """Return the live entry of a tuple and its direction (nf_conntrack_find_get)."""
        zone_id = zone.id_in(ORIGINAL)
        found = self._find(tuple_, zone, zone_id)
        if found is None and zone.id:
            other_id = zone.id_in(REPLY)
            if other_id != zone_id:
                found = self._find(tuple_, zone, other_id)
        return found

    def _find(self, tuple_: Tuple, zone: Zone, zone_id: int) -> Entry | None:
        """Kernel: ____nf_conntrack_find."""
        found = self._by_tuple.get((tuple_, zone_id))
        if found is None:
            return None
        connection, direction = found
        if connection.timeout <= self.net.clock.jiffies:
            nf_ct_delete(self.net, connection, "timeout")
            return None
        if connection.zone is not zone and connection.zone.id_in(direction) != zone.id_in(
            direction
        ):
            return self._find_behind(tuple_, zone, zone_id) if self._behind else None
        return found

    def _find_behind(self, tuple_: Tuple, zone: Zone, zone_id: int) -> Entry | None:
        for entry in reversed(self._behind.get((tuple_, zone_id), ())):
            connection, direction = entry
            if connection.zone.id_in(direction) == zone.id_in(direction):
                if not self.expired(connection):
                    return entry
                nf_ct_delete(self.net, connection, "timeout")
                break
        return None

    def find_confirmed(self, tuple_: Tuple, zone: Zone, direction: int) -> Connection | None:
        """Return the live entry that stands in the way of a tuple of that direction."""
        found = self._find(tuple_, zone, zone.id_in(direction))
        return found[0] if found is not None else None

    def insert(self, connection: Connection) -> None:
        """Put both directions in and mark the entry confirmed (__nf_conntrack_hash_insert).

        Where both tuples are the same (a socket connected to itself), the reply is found, since it
        goes in last, at the head of the bucket.
        """
        zone = connection.zone
        self._put((connection.original, zone.id_in(ORIGINAL)), (connection, ORIGINAL))
        self.insert_reply(connection)

    def insert_reply(self, connection: Connection) -> None:
        """Put only the reply direction in; alone it is how a clash is resolved."""
        zone_id = connection.zone.id_in(REPLY)
        self._put((connection.reply, zone_id), (connection, REPLY))
        self._connections[connection] = None
        self.last_number += 1
        connection.number = self.last_number
        connection.status |= IPS_CONFIRMED
        if connection.status & IPS_SRC_NAT_DONE:
            self.by_source.setdefault(source_key(connection), []).insert(0, connection)
        if connection.master is not None:
            connection.master.holders += 1

    def _put(self, key: Key, entry: Entry) -> None:
        before = self._by_tuple.get(key)
        if before is not None and before[0] is not entry[0]:
            self._behind.setdefault(key, []).append(before)
        self._by_tuple[key] = entry

    def _take(self, key: Key, connection: Connection) -> None:
        """Take one direction of an entry out; what was behind it comes to the front."""
        behind = self._behind.get(key, [])
        found = self._by_tuple.get(key)
        if found is not None and found[0] is connection:
            del self._by_tuple[key]
            if behind:
                self._by_tuple[key] = behind.pop()
        else:
            behind[:] = [entry for entry in behind if entry[0] is not connection]
        if key in self._behind and not behind:
            del self._behind[key]

    def remove(self, connection: Connection) -> None:
        """Take an entry out (clean_from_lists)."""
        if connection not in self._connections:
            return
        del self._connections[connection]
        for direction, tuple_ in ((ORIGINAL, connection.original), (REPLY, connection.reply)):
            self._take((tuple_, connection.zone.id_in(direction)), connection)
        self._ended.append(connection)
        if connection.helper:
            self.net.generic(Expectations).forget_master(connection)

    def settle(self) -> None:
        """Let go of what has ended and nobody holds (nf_ct_destroy).

        For a moment when no packet at hand has a connection: before it gets one.
        """
        while free := [connection for connection in self._ended if not connection.holders]:
            self._ended = [connection for connection in self._ended if connection.holders]
            for connection in free:
                self._forget_source(connection)
                if connection.master is not None:
                    connection.master.holders -= 1

    def _forget_source(self, connection: Connection) -> None:
        """Take an entry out of the hash by source (nf_nat_cleanup_conntrack)."""
        key = source_key(connection)
        bucket = self.by_source.get(key)
        if bucket is not None and connection in bucket:
            bucket.remove(connection)
            if not bucket:
                del self.by_source[key]

    def younger_than(self, number: int) -> Iterator[Connection]:
        """Go through the entries that were confirmed after the one of a number, latest first."""
        for connection in reversed(self._connections):
            if connection.number <= number:
                return
            yield connection

    def collect(self, ended_by: int) -> int:
        """Remove the entries that ended at a jiffy or before; return how many (gc_worker)."""
        ended = [entry for entry in self._connections if entry.timeout <= ended_by]
        return sum(nf_ct_delete(self.net, entry, "timeout") for entry in ended)

    def dump(self, form: Form = Form.PLAIN) -> str:
        """Return the table in one of the forms that tools print, in order of creation."""
        shown = list(self)
        self.settle()
        return "".join(f"{self.text(connection, form)}\n" for connection in shown)

    def text(self, connection: Connection, form: Form = Form.PLAIN) -> str:
        """Return one entry as `conntrack -L` prints it, or in another form."""
        start_ns = connection.start_ns
        age_s = None
        if start_ns is not None:
            age_s = (self.net.clock.now_ns - start_ns) // NSEC_PER_SEC
        uses = 1 + connection.holders
        expires_s = self.expires_s(connection)
        if form is Form.PROC:
            once, answered = (self.net.sysctl.get(key) for key in _GRE_TIMEOUT_KEYS)
            return proc_text(
                connection, expires_s, age_s=age_s, uses=uses, gre_timeouts_s=(once, answered)
            )
        extended = form is Form.EXTENDED
        return connection_text(connection, expires_s, age_s=age_s, extended=extended, uses=uses)

    def load(self, text: str, file: str = "conntrack") -> None:
        """Add the entries of `conntrack -L` text, plain, extended or as in /proc.

        Raises SnapshotError with the place of what cannot be read. The entries are as after
        `conntrack -I`: confirmed, without TCP window data.
        """
        clock = self.net.clock
        sysctl = self.net.sysctl
        for parsed in parse_connections(text, file):
            connection = parsed.connection
            if (connection.original, connection.zone.id_in(ORIGINAL)) in self._by_tuple:
                continue
            if (connection.reply, connection.zone.id_in(REPLY)) in self._by_tuple:
                continue
            connection.timeout = clock.jiffies + parsed.expires_s * clock.hz
            if parsed.age_s is not None:
                connection.start_ns = clock.now_ns - parsed.age_s * NSEC_PER_SEC
            if sysctl.get("net.netfilter.nf_conntrack_acct") and connection.counters is None:
                connection.counters = (Counter(), Counter())
            helper = self.net.generic(Helpers).find(connection.helper, connection.protocol)
            if helper is not None and helper.load is not None:
                connection.help_data = helper.load()
            self.insert(connection)


def source_key(connection: Connection) -> tuple[bytes, int, int, int]:
    """Return the key of nf_nat's hash by source (hash_by_src)."""
    original = connection.original
    zone = connection.zone
    zone_id = zone.id if zone.directions == DEFAULT_ZONE.directions else 0
    return original.src, original.src_part, original.protocol, zone_id


def nf_ct_delete(net: Net, connection: Connection, why: str, skb: Skb | None = None) -> bool:
    """Remove an entry; False when it is already dying."""
    if connection.status & IPS_DYING:
        return False
    table = net.generic(Conntrack)
    skb = skb or table.packet
    if net.sink is not None and skb is not None:
        net.tell(skb, ConnectionDestroyed(connection=table.text(connection), why=why))
    connection.status |= IPS_DYING
    table.remove(connection)
    return True


def nf_ct_kill_acct(net: Net, connection: Connection, ctinfo: CtInfo, skb: Skb, why: str) -> bool:
    """Count the packet, then remove its entry."""
    acct_update(connection, ctinfo, len(skb.data))
    return nf_ct_delete(net, connection, why, skb)


def acct_update(connection: Connection, ctinfo: int, octets: int) -> None:
    """Count one packet (nf_ct_acct_update)."""
    counters = connection.counters
    if counters is not None:
        counter = counters[ctinfo_direction(ctinfo)]
        counter.packets += 1
        counter.octets += octets


def nf_ct_refresh_acct(
    net: Net, connection: Connection, ctinfo: CtInfo, skb: Skb, timeout: int
) -> None:
    """Restart the timeout (in jiffies) and count the packet."""
    if not connection.status & IPS_FIXED_TIMEOUT:
        if connection.status & IPS_CONFIRMED:
            timeout += net.clock.jiffies
        connection.timeout = timeout
    if connection.counters is not None:
        acct_update(connection, ctinfo, len(skb.data))
