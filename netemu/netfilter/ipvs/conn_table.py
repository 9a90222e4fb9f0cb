"""The connection table of one namespace.

Kernel: net/netfilter/ipvs/ip_vs_conn.c.

Theory of operation: entries are found by the client's end. Both directions use that key: a request
comes from it, an answer goes to it. Where several entries have one key, the newest is looked at
first, as in the kernel's buckets.

A packet gives its entry `timeout` more to live. The entry's timer is not moved each time: it fires
at the moment it was set for, and sets itself anew if the entry has more time meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from netemu.hashing import jhash_3words
from netemu.net import Net
from netemu.netfilter.ipvs.app import App
from netemu.netfilter.ipvs.connection import (
    IP_VS_CONN_F_HASHED,
    IP_VS_CONN_F_INACTIVE,
    IP_VS_CONN_F_NFCT,
    IP_VS_CONN_F_NO_CPORT,
    IP_VS_CONN_F_ONE_PACKET,
    IP_VS_CONN_F_TEMPLATE,
    IP_VS_CTPL_S_ASSURED,
    IpvsConnection,
    Key,
)
from netemu.netfilter.ipvs.nfct import ip_vs_conn_drop_conntrack
from netemu.netfilter.ipvs.service import IP_VS_CONN_F_MASQ, RealServer
from netemu.wire.ipv4 import IPPROTO_UDP

IP_VS_CONN_TAB_BITS = 12
"""4096 buckets (CONFIG_IP_VS_TAB_BITS)."""

NEW_TIMEOUT_S = 3
"""Before the protocol sets it."""

EXPIRE_LATER_S = 60
"""An entry that others belong to stays so much longer."""

INVALID_PORT = 0xFFFF
"""Port of an invalidated template, which nobody looks for."""

End = tuple[bytes, int]


class ConnectionTable:
    """Entries by client (ip_vs_conn_tab)."""

    __slots__ = ("_by_client", "_count", "_last_number", "_net", "_no_cport", "_seed", "apps")

    def __init__(self, net: Net) -> None:
        """Start empty."""
        self._net = net
        self._by_client: dict[Key, list[IpvsConnection]] = {}
        self._last_number = 0
        self._count = 0
        self._no_cport = 0
        self._seed = net.entropy.stream("ipvs hash").u32()
        self.apps: dict[tuple[int, int], App] = {}
        """Applications that read along, by protocol and virtual port."""

    def __iter__(self) -> Iterator[IpvsConnection]:
        """Go through the entries in order of creation."""
        every = (connection for bucket in self._by_client.values() for connection in bucket)
        return iter(sorted(every, key=lambda connection: connection.number))

    def __len__(self) -> int:
        """Return the number of entries in the table."""
        return sum(map(len, self._by_client.values()))

    def bucket_of(self, connection: IpvsConnection) -> int:
        """Return the bucket; it hangs on a number drawn at boot (ip_vs_conn_hashkey)."""
        word = int.from_bytes(connection.caddr[-4:], "little")
        port = int.from_bytes(connection.cport.to_bytes(2, "big"), "little")
        hashed = jhash_3words(word, port, connection.protocol, self._seed)
        return hashed & ((1 << IP_VS_CONN_TAB_BITS) - 1)

    # Lookups.

    def in_get(self, protocol: int, client: End, virtual: End) -> IpvsConnection | None:
        """Return the entry of a request (ip_vs_conn_in_get)."""
        found = self._in_get(protocol, client, virtual)
        if found is None and self._no_cport:
            found = self._in_get(protocol, (client[0], 0), virtual)
        return found

    def _in_get(self, protocol: int, client: End, virtual: End) -> IpvsConnection | None:
        for connection in self._by_client.get((protocol, *client), ()):
            without_port = bool(connection.flags & IP_VS_CONN_F_NO_CPORT)
            if (connection.vaddr, connection.vport) == virtual and without_port == (client[1] == 0):
                return connection
        return None

    def out_get(self, protocol: int, source: End, client: End) -> IpvsConnection | None:
        """Return the entry of an answer from `source` to `client` (ip_vs_conn_out_get)."""
        for connection in self._by_client.get((protocol, *client), ()):
            if connection.forward == IP_VS_CONN_F_MASQ:
                found = (connection.daddr, connection.dport)
            else:
                found = (connection.vaddr, connection.vport)
            if found == source:
                return connection
        return None

    def template_get(self, protocol: int, network: bytes, virtual: End) -> IpvsConnection | None:
        """Return the template of a client network (ip_vs_ct_in_get)."""
        for connection in self._by_client.get((protocol, network, 0), ()):
            if connection.flags & IP_VS_CONN_F_TEMPLATE and (
                (connection.vaddr, connection.vport) == virtual
            ):
                return connection
        return None

    # Making and keeping.

    def new(  # noqa: PLR0913 - the kernel's own parameters
        self,
        protocol: int,
        client: End,
        virtual: End,
        real: End,
        *,
        flags: int = 0,
        server: RealServer | None = None,
        fwmark: int = 0,
    ) -> IpvsConnection:
        """Make an entry and hash it (ip_vs_conn_new); `put` starts its timer."""
        connection = IpvsConnection(protocol, client, virtual)
        connection.daddr, connection.dport = real
        connection.flags = flags
        connection.fwmark = fwmark
        self._last_number += 1
        connection.number = self._last_number
        if flags & IP_VS_CONN_F_NO_CPORT:
            self._no_cport += 1
        if server is not None:
            _bind_server(connection, server)
        connection.timeout = NEW_TIMEOUT_S * self._net.clock.hz
        if self._net.sysctl.get("net.ipv4.vs.conntrack"):
            connection.flags |= IP_VS_CONN_F_NFCT
        app = self.apps.get((protocol, connection.vport)) if self.apps else None
        if app is not None and connection.forward == IP_VS_CONN_F_MASQ:
            connection.app = app
            connection.flags |= app.conn_flags
        self._hash(connection)
        return connection

    def put(self, connection: IpvsConnection) -> None:
        """Restart the timer; a one-packet entry ends at once (ip_vs_conn_put)."""
        if connection.flags & IP_VS_CONN_F_ONE_PACKET:
            self._expire(connection)
            return
        connection.expires = self._net.clock.jiffies + connection.timeout
        self._arm(connection, connection.expires)

    def expire_now(self, connection: IpvsConnection) -> None:
        """Let the entry end at the next jiffy (ip_vs_conn_expire_now)."""
        now = self._net.clock.jiffies
        if connection.timer is not None and connection.expires > now:
            connection.expires = now
            self._arm(connection, now + 1)

    def fill_cport(self, connection: IpvsConnection, cport: int) -> None:
        """Give an entry the client's port, now that it is known (ip_vs_conn_fill_cport)."""
        if self._unhash(connection):
            if connection.flags & IP_VS_CONN_F_NO_CPORT:
                self._no_cport -= 1
                connection.flags &= ~IP_VS_CONN_F_NO_CPORT
                connection.cport = cport
            self._hash(connection)

    def check_template(self, template: IpvsConnection) -> bool:
        """Return whether a template's server may go on; else invalidate the template."""
        server = template.server
        quiescent = self._net.sysctl.get("net.ipv4.vs.expire_quiescent_template")
        if server is not None and server.available and not (quiescent and server.weight == 0):
            return True
        if template.vport != INVALID_PORT and self._unhash(template):
            template.dport = template.vport = INVALID_PORT
            template.cport = 0
            self._hash(template)
        return False

    # Ending.

    def delete(self, connection: IpvsConnection) -> None:
        """End an entry at once, and its template with it unless that is assured."""
        if connection.timer is None:
            return
        connection.timer.cancel()
        connection.timer = None
        if connection.control is not None:
            connection.timeout = 0
        self._expire(connection)

    def flush(self, unwanted: Callable[[IpvsConnection], bool]) -> None:
        """Delete the entries that are unwanted, and templates that are left without any."""
        for connection in list(self):
            if not connection.flags & IP_VS_CONN_F_HASHED or not unwanted(connection):
                continue
            if connection.n_control:
                continue
            control = connection.control
            self.delete(connection)
            if control is not None and not control.n_control:
                self.delete(control)

    def _expire(self, connection: IpvsConnection) -> None:
        """Kernel: ip_vs_conn_expire."""
        if connection.n_control:
            connection.timeout = EXPIRE_LATER_S * self._net.clock.hz
            connection.expires = self._net.clock.jiffies + connection.timeout
            self._arm(connection, connection.expires)
            return
        self._unhash(connection)
        if connection.timer is not None:
            connection.timer.cancel()
            connection.timer = None
        control = connection.control
        if control is not None:
            control_del(connection)
            assured = control.flags & IP_VS_CONN_F_TEMPLATE and (
                control.state & IP_VS_CTPL_S_ASSURED
            )
            if not connection.timeout and not control.n_control and not assured:
                self.delete(control)
        one_packet = connection.flags & IP_VS_CONN_F_ONE_PACKET
        if connection.flags & IP_VS_CONN_F_NFCT and not one_packet:
            ip_vs_conn_drop_conntrack(self._net, connection)
        _unbind_server(connection)
        if connection.flags & IP_VS_CONN_F_NO_CPORT:
            self._no_cport -= 1

    def _hash(self, connection: IpvsConnection) -> None:
        if connection.flags & IP_VS_CONN_F_ONE_PACKET:
            return
        connection.flags |= IP_VS_CONN_F_HASHED
        self._by_client.setdefault(connection.key, []).insert(0, connection)

    def _unhash(self, connection: IpvsConnection) -> bool:
        if not connection.flags & IP_VS_CONN_F_HASHED:
            return False
        connection.flags &= ~IP_VS_CONN_F_HASHED
        bucket = self._by_client[connection.key]
        bucket.remove(connection)
        if not bucket:
            del self._by_client[connection.key]
        return True

    def _arm(self, connection: IpvsConnection, jiffy: int) -> None:
        """Make sure that the timer fires at a jiffy, or before."""
        clock = self._net.clock
        when_ns = clock.start_ns + clock.jiffies_to_ns(jiffy)
        if connection.flags & IP_VS_CONN_F_TEMPLATE:
            # Of one jiffy the timer that was set last fires first: the connection's, not its
            # template's.
            when_ns += 1
        timer = connection.timer
        if timer is not None:
            if timer.when_ns <= when_ns:
                return
            timer.cancel()
        connection.timer = clock.call_at(when_ns, lambda: self._fire(connection))

    def _fire(self, connection: IpvsConnection) -> None:
        connection.timer = None
        if connection.expires > self._net.clock.jiffies:
            self._arm(connection, connection.expires)
        else:
            self._expire(connection)


def control_add(connection: IpvsConnection, control: IpvsConnection) -> None:
    """Let an entry belong to another (ip_vs_control_add)."""
    if connection.control is not None:
        control_del(connection)
    connection.control = control
    control.n_control += 1


def control_del(connection: IpvsConnection) -> None:
    """Undo `control_add` (ip_vs_control_del)."""
    control = connection.control
    if control is not None:
        connection.control = None
        control.n_control -= 1


def control_assure(connection: IpvsConnection) -> None:
    """Assure the template of an entry that is established or was answered."""
    control = connection.control
    if control is not None and control.flags & IP_VS_CONN_F_TEMPLATE:
        control.state |= IP_VS_CTPL_S_ASSURED


def set_activity(connection: IpvsConnection, *, active: bool) -> None:
    """Count an entry as active or inactive at its server."""
    server = connection.server
    if server is None or active == (not connection.flags & IP_VS_CONN_F_INACTIVE):
        return
    step = 1 if active else -1
    server.activeconns += step
    server.inactconns -= step
    connection.flags ^= IP_VS_CONN_F_INACTIVE


def _bind_server(connection: IpvsConnection, server: RealServer) -> None:
    """Kernel: ip_vs_bind_dest."""
    server.holders += 1
    flags = server.conn_flags
    template = connection.flags & IP_VS_CONN_F_TEMPLATE
    if connection.protocol != IPPROTO_UDP or template:
        flags &= ~IP_VS_CONN_F_ONE_PACKET
    connection.flags |= flags
    connection.server = server
    if template:
        server.persistconns += 1
    elif connection.flags & IP_VS_CONN_F_INACTIVE:
        server.inactconns += 1
    else:
        server.activeconns += 1
    if server.u_threshold and server.totalconns >= server.u_threshold:
        server.overload = True


def _unbind_server(connection: IpvsConnection) -> None:
    """Kernel: ip_vs_unbind_dest."""
    server = connection.server
    if server is None:
        return
    if connection.flags & IP_VS_CONN_F_TEMPLATE:
        server.persistconns -= 1
    elif connection.flags & IP_VS_CONN_F_INACTIVE:
        server.inactconns -= 1
    else:
        server.activeconns -= 1
    total = server.totalconns
    if server.l_threshold:
        if total < server.l_threshold:
            server.overload = False
    elif not server.u_threshold or total * 4 < server.u_threshold * 3:
        server.overload = False
    server.holders -= 1
    connection.server = None
