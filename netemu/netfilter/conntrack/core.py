"""Classifying a packet: which connection, which state; and confirming new entries.

Kernel: net/netfilter/nf_conntrack_core.c, net/netfilter/nf_conntrack_proto.c,
net/ipv4/netfilter/nf_defrag_ipv4.c.

Theory of operation: `nf_conntrack_in` runs at PREROUTING and OUTPUT. It finds the entry of the
packet's tuple or makes one, lets the protocol judge the packet, and hangs the entry on the skb. A
new entry belongs to its packet alone until `nf_confirm`, at the end of INPUT and POSTROUTING, puts
it into the table; a packet that is dropped on the way leaves no entry.

A namespace tracks connections only once something in it wants to know: a state match, a NAT
target, the CT target. Each of them calls `nf_ct_netns_get`; the first call registers the hook
functions, and they stay.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from msgspec import Struct

from netemu.events import ConnectionConfirmed, ConnectionCreated, ConntrackLookup
from netemu.ip.fragment import DefragUser, ip_defrag
from netemu.link.ratelimit import net_ratelimit
from netemu.net import Net
from netemu.netfilter.conntrack import dccp, generic, gre, icmp, sctp, tcp, udp
from netemu.netfilter.conntrack.connection import (
    IPS_CONFIRMED,
    IPS_DYING,
    IPS_EXPECTED,
    IPS_FIXED_TIMEOUT,
    IPS_HELPER,
    IPS_NAT_CLASH,
    IPS_NAT_DONE_MASK,
    IPS_SEEN_REPLY,
    IPS_SEQ_ADJUST,
    IPS_TEMPLATE,
    ORIGINAL,
    REPLY,
    Connection,
    Counter,
    CtInfo,
    Zone,
    ctinfo_direction,
    nf_ct_get,
    nf_ct_set,
    state_word,
)
from netemu.netfilter.conntrack.eviction import early_drop
from netemu.netfilter.conntrack.expect import Expectation, Expectations
from netemu.netfilter.conntrack.helper import Helpers
from netemu.netfilter.conntrack.judgement import Judgement
from netemu.netfilter.conntrack.seqadj import nf_ct_seq_adjust
from netemu.netfilter.conntrack.table import Conntrack, acct_update
from netemu.netfilter.conntrack.tuple import Tuple, get_l4proto, get_tuple, invert_tuple
from netemu.netfilter.conntrack.zones import nf_ct_zone_tmpl
from netemu.netfilter.hook import Family, Hook, HookFunction, HookState, Priority, Verdict
from netemu.skb import Skb
from netemu.wire.ipv4 import (
    IPPROTO_DCCP,
    IPPROTO_GRE,
    IPPROTO_ICMP,
    IPPROTO_SCTP,
    IPPROTO_TCP,
    IPPROTO_UDP,
    IPPROTO_UDPLITE,
)

PacketFunction = Callable[[Net, Connection, Skb, int, CtInfo, HookState], Judgement]


class L4Proto(Struct, frozen=True, kw_only=True):
    """How a protocol is tracked (struct nf_conntrack_l4proto)."""

    packet: PacketFunction
    allow_clash: bool = False


TCP_PROTO: Final = L4Proto(packet=tcp.nf_conntrack_tcp_packet)
UDP_PROTO: Final = L4Proto(packet=udp.nf_conntrack_udp_packet, allow_clash=True)
UDPLITE_PROTO: Final = L4Proto(packet=udp.nf_conntrack_udplite_packet, allow_clash=True)
ICMP_PROTO: Final = L4Proto(packet=icmp.nf_conntrack_icmp_packet)
GRE_PROTO: Final = L4Proto(packet=gre.nf_conntrack_gre_packet)
SCTP_PROTO: Final = L4Proto(packet=sctp.nf_conntrack_sctp_packet)
DCCP_PROTO: Final = L4Proto(packet=dccp.nf_conntrack_dccp_packet)
GENERIC_PROTO: Final = L4Proto(packet=generic.generic_packet, allow_clash=True)

NETNS_INUM: Final = 4026532000
"""Number of every namespace but the first in the log; the kernel's own hangs on its history."""

_PROTOCOLS: Final = {
    IPPROTO_TCP: TCP_PROTO,
    IPPROTO_UDP: UDP_PROTO,
    IPPROTO_ICMP: ICMP_PROTO,
    IPPROTO_UDPLITE: UDPLITE_PROTO,
    IPPROTO_GRE: GRE_PROTO,
    IPPROTO_SCTP: SCTP_PROTO,
}


def nf_ct_l4proto_find(net: Net, protocol: int) -> L4Proto:
    """Return how a protocol is tracked."""
    if protocol == IPPROTO_DCCP and net.kernel == "6.1":
        return DCCP_PROTO
    return _PROTOCOLS.get(protocol, GENERIC_PROTO)


def nf_conntrack_in(net: Net, skb: Skb, state: HookState) -> Verdict:
    """Classify a packet (hook function at CONNTRACK priority)."""
    if net.sink is None:
        return _classify(net, net.generic(Conntrack), skb, state)
    table = net.generic(Conntrack)
    table.note = ""
    table.packet = skb
    had, _ = nf_ct_get(skb)
    verdict = _classify(net, table, skb, state)
    table.packet = None
    connection, ctinfo = nf_ct_get(skb)
    direction = ""
    if connection is not None:
        direction = "REPLY" if ctinfo_direction(ctinfo) else "ORIGINAL"
    net.tell(
        skb,
        ConntrackLookup(
            state=state_word(connection, ctinfo),
            direction=direction,
            connection=table.text(connection) if connection is not None else "",
            note=table.note,
        ),
    )
    if connection is not had and connection is not None and not connection.confirmed:
        net.tell(skb, ConnectionCreated(connection=table.text(connection)))
    return verdict


def _classify(net: Net, table: Conntrack, skb: Skb, state: HookState) -> Verdict:
    """Kernel: nf_conntrack_in."""
    template = None
    if skb.nfct is not None or skb.ctinfo == CtInfo.UNTRACKED:
        template, ctinfo = nf_ct_get(skb)
        if template is None or not template.status & IPS_TEMPLATE:
            return Verdict.ACCEPT
        skb.nfct = None
        skb.ctinfo = 0
    protocol, transport_offset = get_l4proto(skb.data)
    if not transport_offset:
        return Verdict.ACCEPT
    if protocol == IPPROTO_ICMP:
        if not icmp.nf_conntrack_icmpv4_error(net, template, skb, transport_offset, state):
            return Verdict.ACCEPT
        if skb.nfct is not None:
            return Verdict.ACCEPT
    while True:
        verdict = resolve_normal_ct(net, table, template, skb, transport_offset, protocol)
        if verdict != Verdict.ACCEPT:
            return verdict
        connection, ctinfo = nf_ct_get(skb)
        if connection is None:
            return Verdict.ACCEPT
        judgement = nf_ct_l4proto_find(net, protocol).packet(
            net, connection, skb, transport_offset, ctinfo, state
        )
        if judgement is Judgement.VALID:
            if ctinfo == CtInfo.ESTABLISHED_REPLY:
                connection.status |= IPS_SEEN_REPLY
            return Verdict.ACCEPT
        nf_ct_set(skb, None, CtInfo.ESTABLISHED)
        skb.fate.connection = None
        if judgement is Judgement.INVALID:
            return Verdict.ACCEPT
        if judgement is Judgement.DROP:
            return Verdict.DROP


def resolve_normal_ct(
    net: Net,
    table: Conntrack,
    template: Connection | None,
    skb: Skb,
    transport_offset: int,
    protocol: int,
) -> Verdict:
    """Find or make the entry of a packet and attach it; DROP when the table is full."""
    tuple_ = get_tuple(skb.data, 0, transport_offset, protocol, dccp=net.kernel == "6.1")
    if tuple_ is None:
        return Verdict.ACCEPT
    zone = nf_ct_zone_tmpl(template, skb)
    found = table.find(tuple_, zone)
    if found is None:
        reply = invert_tuple(tuple_)
        if reply is None:
            return Verdict.ACCEPT
        created = init_conntrack(net, table, skb, tuple_, reply, zone)
        if created is None:
            return Verdict.DROP
        expected = net.generic(Expectations).take(tuple_, zone)
        if expected is not None:
            _born_expected(net, created, expected)
        elif template is not None and template.helper:
            created.helper = template.helper
            created.status |= IPS_HELPER
        nf_ct_set(skb, created, CtInfo.NEW if expected is None else CtInfo.RELATED)
        return Verdict.ACCEPT
    connection, direction = found
    if direction == REPLY:
        ctinfo = CtInfo.ESTABLISHED_REPLY
    elif connection.status & IPS_SEEN_REPLY:
        ctinfo = CtInfo.ESTABLISHED
    else:
        ctinfo = CtInfo.RELATED if connection.status & IPS_EXPECTED else CtInfo.NEW
    nf_ct_set(skb, connection, ctinfo)
    return Verdict.ACCEPT


def init_conntrack(
    net: Net, table: Conntrack, skb: Skb, original: Tuple, reply: Tuple, zone: Zone
) -> Connection | None:
    """Make an entry; None when the table is full."""
    sysctl = net.sysctl
    table.settle()
    limit = sysctl.get("net.netfilter.nf_conntrack_max")
    if (
        limit
        and table.count + 1 > limit
        and not early_drop(net, table, original, zone.id_in(ORIGINAL))
    ):
        if net_ratelimit(net, skb):
            net.printk(skb, f"nf_conntrack: nf_conntrack: {_table_full(net)}, dropping packet")
        return None
    connection = Connection(original, reply, zone)
    if sysctl.get("net.netfilter.nf_conntrack_acct"):
        connection.counters = (Counter(), Counter())
    return connection


def _born_expected(net: Net, connection: Connection, expected: Expectation) -> None:
    """Give a new connection its master, and what NAT did to that."""
    master = expected.master
    connection.status |= IPS_EXPECTED
    connection.master = master
    if net.kernel == "6.1":
        # An expectation names its helper there, and the connection gets that (asked of 6.1.176).
        connection.helper = master.helper
    connection.mark = master.mark
    connection.secmark = master.secmark
    if expected.expectfn is not None:
        expected.expectfn(net, connection, expected)


def _table_full(net: Net) -> str:
    """Return the middle of the log line; 6.18 says which namespace it is (asked of 6.18.44)."""
    if net.kernel == "6.1":
        return "table full"
    return f"table full in netns {NETNS_INUM}" if net.name else "table full in init_net"


def nf_confirm(net: Net, skb: Skb, state: HookState) -> Verdict:
    """Let the helper read what passed all hooks, then confirm it (hook function, priority LAST)."""
    connection, ctinfo = nf_ct_get(skb)
    if connection is None:
        return Verdict.ACCEPT
    adjusted = connection.status & IPS_SEQ_ADJUST and not _came_by_loopback(state)
    if ctinfo == CtInfo.RELATED_REPLY or not (connection.helper or adjusted):
        return nf_conntrack_confirm(net, skb)
    helper = net.generic(Helpers).find(connection.helper, connection.protocol)
    if helper is not None:
        verdict = helper.help(net, skb, skb.transport_offset, connection, ctinfo)
        if verdict != Verdict.ACCEPT:
            return verdict
    if adjusted and not nf_ct_seq_adjust(net, skb, connection, ctinfo, skb.transport_offset):
        return Verdict.DROP
    return nf_conntrack_confirm(net, skb)


def _came_by_loopback(state: HookState) -> bool:
    """Return whether the packet's numbers were adjusted at the other end of the loopback device."""
    return state.in_device is not None and state.in_device.loopback


def nf_conntrack_confirm(net: Net, skb: Skb) -> Verdict:
    """Put a packet's new entry into the table."""
    connection, ctinfo = nf_ct_get(skb)
    if connection is None or connection.status & (IPS_CONFIRMED | IPS_TEMPLATE):
        return Verdict.ACCEPT
    if ctinfo_direction(ctinfo) != ORIGINAL:
        return Verdict.ACCEPT
    table = net.generic(Conntrack)
    if connection.status & IPS_DYING:
        return Verdict.DROP
    zone = connection.zone
    clash = table.find_confirmed(connection.original, zone, ORIGINAL)
    if clash is None:
        clash = table.find_confirmed(connection.reply, zone, REPLY)
    if clash is not None:
        return nf_ct_resolve_clash(net, table, skb, clash)
    connection.timeout += net.clock.jiffies
    if net.sysctl.get("net.netfilter.nf_conntrack_timestamp"):
        connection.start_ns = net.clock.now_ns
    table.insert(connection)
    if net.sink is not None:
        net.tell(skb, ConnectionConfirmed(connection=table.text(connection)))
    return Verdict.ACCEPT


def nf_ct_resolve_clash(net: Net, table: Conntrack, skb: Skb, winner: Connection) -> Verdict:
    """Handle an entry whose tuple another one took meanwhile."""
    loser, _ = nf_ct_get(skb)
    assert loser is not None
    if not nf_ct_l4proto_find(net, winner.protocol).allow_clash:
        return Verdict.DROP
    if _merge_clash(table, skb, winner):
        return Verdict.ACCEPT
    taken = table.find_confirmed(loser.reply, loser.zone, REPLY)
    if taken is not None:
        return Verdict.ACCEPT if _merge_clash(table, skb, taken) else Verdict.DROP
    loser.timeout = net.clock.jiffies + net.clock.hz
    loser.status |= IPS_FIXED_TIMEOUT | IPS_NAT_CLASH
    table.insert_reply(loser)
    return Verdict.ACCEPT


def _merge_clash(table: Conntrack, skb: Skb, winner: Connection) -> bool:
    """Let the packet belong to the entry that won, if that does no harm (__nf_ct_resolve_clash).

    6.18 does not where the two have the reply in common but begin in different zones, NAT or not
    (asked of 6.18); 6.1 minds it with NAT only.
    """
    loser, ctinfo = nf_ct_get(skb)
    assert loser is not None
    if winner.status & IPS_DYING:
        return False
    same = (winner.original, winner.reply, winner.zone) == (loser.original, loser.reply, loser.zone)
    if winner.status & IPS_NAT_DONE_MASK and not same:
        return False
    if winner.zone != loser.zone and table.net.kernel != "6.1":
        return False
    if loser.counters is not None:
        octets = loser.counters[ctinfo_direction(ctinfo)].octets
        acct_update(winner, ctinfo, octets)
    nf_ct_set(skb, winner, ctinfo)
    return True


def nf_conntrack_tuple_taken(net: Net, tuple_: Tuple, ignored: Connection) -> bool:
    """Return whether another connection has this tuple, in either direction.

    A connection with the same original tuple in the same zone does not count: it is the same flow,
    and nf_ct_resolve_clash will deal with it.
    """
    zone = ignored.zone
    other = net.generic(Conntrack).find_confirmed(tuple_, zone, REPLY)
    if other is None or other is ignored:
        return False
    same_zone = other.zone.id_in(ORIGINAL) == zone.id_in(ORIGINAL)
    return not same_zone or other.original != ignored.original


def nf_conntrack_attach(net: Net, skb: Skb, cause: Skb) -> None:
    """Give a packet made about `cause` (an ICMP error, a RST) the connection of its cause.

    One about an untracked packet is not itself untracked: it is INVALID (asked of 6.18), but has
    been seen, so that CT and NOTRACK leave it alone.
    """
    connection, ctinfo = nf_ct_get(cause)
    if connection is None and not ctinfo:
        return
    reply = ctinfo_direction(ctinfo) == ORIGINAL
    nf_ct_set(skb, connection, CtInfo.RELATED_REPLY if reply else CtInfo.RELATED)


def nf_ct_set_closing(net: Net, skb: Skb) -> None:
    """Close the TCP connection of a packet that is answered with a RST."""
    connection, _ = nf_ct_get(skb)
    if connection is not None and connection.protocol == IPPROTO_TCP:
        tcp.nf_conntrack_tcp_set_closing(net, connection)


class UsedHooks:
    """Functions that stand at hooks of a namespace while anybody wants them."""

    __slots__ = ("_net", "_placed", "users")

    def __init__(self, net: Net) -> None:
        """Start with nobody who wants them."""
        self._net = net
        self._placed: list[tuple[Hook, HookFunction]] = []
        self.users = 0

    def get(self, places: Sequence[tuple[Hook, int, HookFunction]]) -> bool:
        """Count a user; put the functions in their places for the first one (True)."""
        self.users += 1
        if self.users > 1:
            return False
        for hook, priority, function in places:
            self._net.hooks.register(Family.IPV4, hook, priority, function)
            self._placed.append((hook, function))
        return True

    def put(self) -> bool:
        """Let a user go; the functions go with the last one (True)."""
        self.users -= 1
        if self.users:
            return False
        for hook, function in self._placed:
            self._net.hooks.unregister(Family.IPV4, hook, function)
        self._placed.clear()
        return True


class ConntrackHooks(UsedHooks):
    """What tracks connections; found by `net.generic(ConntrackHooks)`."""

    __slots__ = ()


class DefragHooks(UsedHooks):
    """What puts fragments together before the tables see them."""

    __slots__ = ()


def nf_defrag_ipv4_enable(net: Net) -> None:
    """Put fragments together from now on."""
    defrag = partial(ipv4_conntrack_defrag, net)
    net.generic(DefragHooks).get(
        [
            (Hook.PREROUTING, Priority.CONNTRACK_DEFRAG, defrag),
            (Hook.OUTPUT, Priority.CONNTRACK_DEFRAG, defrag),
        ]
    )


def nf_ct_netns_get(net: Net) -> None:
    """Track connections from now on."""
    confirm = partial(nf_confirm, net)
    if not net.generic(ConntrackHooks).get(
        [
            (Hook.PREROUTING, Priority.CONNTRACK, partial(nf_conntrack_in, net)),
            (Hook.OUTPUT, Priority.CONNTRACK, partial(ipv4_conntrack_local, net)),
            (Hook.POSTROUTING, Priority.LAST, confirm),
            (Hook.INPUT, Priority.LAST, confirm),
        ]
    ):
        return
    net.nf_ct_attach = partial(nf_conntrack_attach, net)
    net.nf_ct_set_closing = partial(nf_ct_set_closing, net)
    net.nf_ct_confirm = partial(nf_conntrack_confirm, net)
    nf_defrag_ipv4_enable(net)


def nf_ct_netns_put(net: Net) -> None:
    """Track no more once nobody wants it."""
    if net.generic(ConntrackHooks).put():
        net.generic(DefragHooks).put()


def ipv4_conntrack_local(net: Net, skb: Skb, state: HookState) -> Verdict:
    """Classify a packet of our own; a fragment, sent with IP_NODEFRAG, has no connection."""
    if skb.data[6] & 0x3F or skb.data[7]:
        template, _ = nf_ct_get(skb)
        if template is not None and template.status & IPS_TEMPLATE:
            nf_ct_set(skb, None, CtInfo.ESTABLISHED)
        return Verdict.ACCEPT
    return nf_conntrack_in(net, skb, state)


def ipv4_conntrack_defrag(net: Net, skb: Skb, state: HookState) -> Verdict:
    """Gather fragments, so that conntrack and the tables see whole packets."""
    connection, ctinfo = nf_ct_get(skb)
    if connection is None and ctinfo == CtInfo.UNTRACKED:
        return Verdict.ACCEPT
    if not skb.data[6] & 0x3F and not skb.data[7]:
        return Verdict.ACCEPT
    if not ip_defrag(net, skb, nf_ct_defrag_user(skb, state)):
        return Verdict.STOLEN
    # The sender's DF was meant for its fragments; see ip_fragment.
    skb.ignore_df = True
    return Verdict.ACCEPT


def nf_ct_defrag_user(skb: Skb, state: HookState) -> int:
    """Return whose fragments these are, so that hooks and zones do not mix."""
    connection, ctinfo = nf_ct_get(skb)
    zone_id = 0
    if connection is not None:
        zone_id = connection.zone.id_in(ctinfo_direction(ctinfo))
    if skb.nf_bridge is not None and skb.nf_bridge.in_prerouting:
        return DefragUser.CONNTRACK_BRIDGE_IN + zone_id
    if state.hook == Hook.PREROUTING:
        return DefragUser.CONNTRACK_IN + zone_id
    return DefragUser.CONNTRACK_OUT + zone_id
