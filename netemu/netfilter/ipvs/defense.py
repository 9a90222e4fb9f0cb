"""Defence against overload: dropping packets and entries.

Kernel: net/netfilter/ipvs/ip_vs_ctl.c (update_defense_level), ip_vs_conn.c
(ip_vs_random_dropentry), include/net/ip_vs.h (ip_vs_todrop).

Theory of operation: net.ipv4.vs.drop_packet=3 drops every am_droprate-th packet that would begin a
connection; drop_entry=3 looks each second at 128 random buckets of the table and drops entries that
are half open, or old with few packets. Values 1 and 2 do so only while memory is short, which it
never is here.
"""

from __future__ import annotations

from netemu.clock import NSEC_PER_SEC
from netemu.netfilter.ipvs.conn_table import IP_VS_CONN_TAB_BITS
from netemu.netfilter.ipvs.connection import (
    IP_VS_CONN_F_TEMPLATE,
    IP_VS_CTPL_S_ASSURED,
    IpvsConnection,
)
from netemu.netfilter.ipvs.sctp import SctpState
from netemu.netfilter.ipvs.service import ServiceFlag
from netemu.netfilter.ipvs.table import Ipvs
from netemu.netfilter.ipvs.tcp import TcpState
from netemu.wire.ipv4 import IPPROTO_SCTP, IPPROTO_TCP

ALWAYS = 3

YOUNG_S = 60
"""An entry is spared so long."""

MOST_PACKETS = 8
"""An entry with more packets is spared."""

_HALF_OPEN: dict[int, set[int]] = {
    IPPROTO_TCP: {TcpState.SYN_RECV, TcpState.SYNACK},
    IPPROTO_SCTP: {SctpState.INIT1, SctpState.INIT},
}
_OPEN: dict[int, int] = {
    IPPROTO_TCP: TcpState.ESTABLISHED,
    IPPROTO_SCTP: SctpState.ESTABLISHED,
}


class Dropper:
    """The counters that space the drops (todrop_rate, todrop_counter)."""

    __slots__ = ("_counters", "_ipvs")

    def __init__(self, ipvs: Ipvs) -> None:
        """Start with nothing dropped."""
        self._ipvs = ipvs
        self._counters = [0] * (MOST_PACKETS + 1)

    def second(self) -> None:
        """Look at a 32nd of the table, then wait (defense_work_handler)."""
        net = self._ipvs.net
        self._ipvs.defends = net.sysctl.get("net.ipv4.vs.drop_entry") == ALWAYS
        if self._ipvs.defends:
            self._random_dropentry()
            net.clock.call_later(NSEC_PER_SEC, self.second)

    def _random_dropentry(self) -> None:
        table = self._ipvs.connections
        buckets: dict[int, list[IpvsConnection]] = {}
        for connection in table:
            buckets.setdefault(table.bucket_of(connection), []).insert(0, connection)
        size = 1 << IP_VS_CONN_TAB_BITS
        stream = self._ipvs.net.entropy.stream("ipvs drop entry")
        for _ in range(size >> 5):
            for connection in buckets.pop(stream.u32() & (size - 1), ()):
                if not connection.n_control and self._unwanted(connection):
                    table.delete(connection)

    def _unwanted(self, connection: IpvsConnection) -> bool:
        if connection.flags & IP_VS_CONN_F_TEMPLATE:
            server = connection.server
            if server is not None and server.service.flags & ServiceFlag.ONEPACKET:
                return self._todrop(connection)
            return not connection.state & IP_VS_CTPL_S_ASSURED
        half_open = _HALF_OPEN.get(connection.protocol)
        if half_open is None:
            return self._todrop(connection)
        if connection.state in half_open:
            return True
        return connection.state == _OPEN[connection.protocol] and self._todrop(connection)

    def _todrop(self, connection: IpvsConnection) -> bool:
        """Kernel: todrop_entry."""
        clock = self._ipvs.net.clock
        if connection.timeout + clock.jiffies < connection.expires + YOUNG_S * clock.hz:
            return False
        packets = connection.in_pkts
        if not 0 < packets <= MOST_PACKETS:
            return False
        self._counters[packets] -= 1
        if self._counters[packets] > 0:
            return False
        self._counters[packets] = packets
        return True


def start_defense(ipvs: Ipvs) -> None:
    """Begin to drop entries, if drop_entry says so by now."""
    if not ipvs.defends and ipvs.net.sysctl.get("net.ipv4.vs.drop_entry") == ALWAYS:
        ipvs.defends = True
        ipvs.net.clock.call_later(NSEC_PER_SEC, Dropper(ipvs).second)


def ip_vs_todrop(ipvs: Ipvs) -> bool:
    """Return whether this packet is the one to be dropped."""
    sysctl = ipvs.net.sysctl
    if sysctl.get("net.ipv4.vs.drop_packet") != ALWAYS:
        return False
    rate = sysctl.get("net.ipv4.vs.am_droprate")
    if not rate:
        return False
    ipvs.drop_counter -= 1
    if ipvs.drop_counter > 0:
        return False
    ipvs.drop_counter = rate
    return True
