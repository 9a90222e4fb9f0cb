"""The conntrack entry: what is known of one connection.

Kernel: include/net/netfilter/nf_conntrack.h, include/uapi/linux/netfilter/nf_conntrack_common.h.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import Final

from msgspec import Struct

from netemu.netfilter.conntrack.tuple import Tuple
from netemu.skb import Skb


class CtInfo(IntEnum):
    """What a packet is to its connection (enum ip_conntrack_info)."""

    ESTABLISHED = 0
    """Original direction of a connection that was answered."""
    RELATED = 1
    """An ICMP error about a connection, or the first packet of an expected one."""
    NEW = 2
    """Original direction, no answer seen yet."""
    ESTABLISHED_REPLY = 3
    RELATED_REPLY = 4
    UNTRACKED = 7
    """No connection, on purpose."""


ORIGINAL: Final = 0
REPLY: Final = 1
"""Directions (enum ip_conntrack_dir)."""

_CTINFO: Final = tuple(
    CtInfo(number) if number in set(CtInfo) else CtInfo.NEW for number in range(8)
)


class Status(IntFlag):
    """Bits of Connection.status (enum ip_conntrack_status)."""

    EXPECTED = 1
    SEEN_REPLY = 2
    ASSURED = 4
    """Never dropped early."""
    CONFIRMED = 8
    """In the table."""
    SRC_NAT = 16
    DST_NAT = 32
    SEQ_ADJUST = 64
    SRC_NAT_DONE = 128
    DST_NAT_DONE = 256
    DYING = 512
    FIXED_TIMEOUT = 1024
    TEMPLATE = 2048
    """Made by the CT target, not a connection."""
    NAT_CLASH = 4096
    """Found by its reply only; see nf_ct_resolve_clash."""
    HELPER = 8192
    OFFLOAD = 16384
    HW_OFFLOAD = 32768


# Plain ints for the hot path: an IntFlag makes an object of every `&`.
IPS_EXPECTED: Final = 1
IPS_SEEN_REPLY: Final = 2
IPS_ASSURED: Final = 4
IPS_CONFIRMED: Final = 8
IPS_SRC_NAT: Final = 16
IPS_DST_NAT: Final = 32
IPS_NAT_MASK: Final = 48
IPS_SEQ_ADJUST: Final = 64
IPS_SRC_NAT_DONE: Final = 128
IPS_DST_NAT_DONE: Final = 256
IPS_NAT_DONE_MASK: Final = 384
IPS_DYING: Final = 512
IPS_FIXED_TIMEOUT: Final = 1024
IPS_TEMPLATE: Final = 2048
IPS_NAT_CLASH: Final = 4096
IPS_HELPER: Final = 8192
IPS_OFFLOAD: Final = 16384
IPS_HW_OFFLOAD: Final = 32768


class Zone(Struct, frozen=True):
    """A conntrack zone (struct nf_conntrack_zone)."""

    id: int = 0
    directions: int = 3
    """Bit 1 << direction for each direction that the id counts in; else the zone is 0."""
    from_mark: bool = False
    """The id is the packet's mark (CT --zone mark)."""

    def id_in(self, direction: int) -> int:
        """Zone id of one direction (nf_ct_zone_id)."""
        return self.id if self.directions >> direction & 1 else 0


DEFAULT_ZONE: Final = Zone()


class Counter(Struct):
    """Packets and bytes of one direction (struct nf_conn_counter)."""

    packets: int = 0
    octets: int = 0


class TcpSide:
    """What one TCP sender has shown (struct ip_ct_tcp_state)."""

    __slots__ = ("flags", "td_end", "td_maxack", "td_maxend", "td_maxwin", "td_scale")

    def __init__(self) -> None:
        """Start with nothing seen."""
        self.td_end = 0
        """Max of seq + len."""
        self.td_maxend = 0
        """Max of ack + max(win, 1) of the other side: the right edge that this side may send to."""
        self.td_maxwin = 0
        """Max of win; 0 while nothing was seen from this side."""
        self.td_maxack = 0
        self.td_scale = 0
        self.flags = 0
        """IP_CT_TCP_FLAG_* of tcp.py."""


class TcpTracking:
    """TCP state of a connection (struct ip_ct_tcp); all zero for an entry loaded from text."""

    __slots__ = (
        "last_ack",
        "last_dir",
        "last_end",
        "last_flags",
        "last_index",
        "last_seq",
        "last_win",
        "last_wscale",
        "retrans",
        "seen",
        "state",
    )

    def __init__(self) -> None:
        """Start as the kernel's zeroed structure."""
        self.seen = (TcpSide(), TcpSide())
        self.state = 0
        self.last_dir = 0
        self.retrans = 0
        self.last_index = 0
        self.last_seq = 0
        self.last_ack = 0
        self.last_end = 0
        self.last_win = 0
        self.last_wscale = 0
        self.last_flags = 0


class SctpTracking:
    """SCTP state of a connection (struct ip_ct_sctp)."""

    __slots__ = ("heartbeat_vtag_failed", "init", "last_dir", "state", "vtag")

    def __init__(self) -> None:
        """Start as the kernel's zeroed structure."""
        self.state = 0
        self.vtag = [0, 0]
        """Verification tag that packets of each direction must carry; 0 while unknown."""
        self.init = [False, False]
        """Whether an INIT was seen, per direction."""
        self.last_dir = 0
        self.heartbeat_vtag_failed = False


class DccpTracking:
    """DCCP state of a connection (struct nf_ct_dccp)."""

    __slots__ = ("handshake_seq", "last_dir", "last_type", "role", "state")

    def __init__(self) -> None:
        """Start as for a Request that the original direction's sender, the client, has sent."""
        self.state = 0
        self.role = [0, 1]
        """0 client or 1 server, per direction."""
        self.last_dir = 0
        self.last_type = 0
        self.handshake_seq = 0
        """Sequence number of the Response."""


class SeqAdjustment(Struct):
    """How sequence numbers of one direction are shifted (struct nf_ct_seqadj)."""

    correction_pos: int = 0
    """Number at which the latest change happened."""
    offset_before: int = 0
    offset_after: int = 0


class Connection:
    """A conntrack entry (struct nf_conn)."""

    __slots__ = (
        "counters",
        "dccp",
        "help_data",
        "helper",
        "holders",
        "labels",
        "mark",
        "masq_ifindex",
        "master",
        "number",
        "original",
        "reply",
        "sctp",
        "secmark",
        "seqadj",
        "start_ns",
        "status",
        "stream_from",
        "tcp",
        "timeout",
        "zone",
    )

    def __init__(self, original: Tuple, reply: Tuple, zone: Zone = DEFAULT_ZONE) -> None:
        """Make an unconfirmed entry."""
        self.original = original
        self.reply = reply
        self.zone = zone
        self.status = 0
        """`Status` bits as a plain int."""
        self.timeout = 0
        """Jiffies: a length while unconfirmed, afterwards the moment of expiry."""
        self.mark = 0
        self.secmark = ""
        """Security context that CONNSECMARK saved; empty for none."""
        self.labels = 0
        """128 bits of connlabel."""
        self.tcp: TcpTracking | None = None
        self.stream_from = 0
        """UDP: from this jiffy on a two-way connection counts as a stream."""
        self.sctp: SctpTracking | None = None
        self.dccp: DccpTracking | None = None
        """On Linux 6.1 only."""
        self.counters: tuple[Counter, Counter] | None = None
        """Per direction; None when nf_conntrack_acct was 0 at the start."""
        self.start_ns: int | None = None
        """Time of confirmation; None when nf_conntrack_timestamp was 0 at the start."""
        self.master: Connection | None = None
        """The connection that expected this one."""
        self.helper = ""
        """Name of the helper that reads it; empty for none."""
        self.help_data: object | None = None
        """What that helper remembers (nfct_help_data)."""
        self.seqadj: tuple[SeqAdjustment, SeqAdjustment] | None = None
        """Per direction, once NAT changed a connection with a helper (struct nf_conn_seqadj)."""
        self.masq_ifindex = 0
        """Device that MASQUERADE chose the address of; 0 for none."""
        self.number = 0
        """Order of confirmation; 0 while unconfirmed."""
        self.holders = 0
        """Packets that wait for a neighbour, and connections that this one is the master of; what
        the packet at hand holds does not count."""

    @property
    def protocol(self) -> int:
        """IP protocol number."""
        return self.original.protocol

    @property
    def confirmed(self) -> bool:
        """Whether the entry is in the table."""
        return bool(self.status & IPS_CONFIRMED)

    @property
    def flags(self) -> Status:
        """The status as a flag set, for messages and tests."""
        return Status(self.status)

    def tuple_of(self, direction: int) -> Tuple:
        """Return the tuple of a direction (tuplehash[dir].tuple)."""
        return self.reply if direction else self.original


def nf_ct_get(skb: Skb) -> tuple[Connection | None, CtInfo]:
    """Return a packet's connection and what the packet is to it.

    Without a connection the second part is UNTRACKED for a packet that is not tracked on purpose;
    otherwise it means nothing and the packet counts as INVALID.
    """
    connection = skb.nfct
    assert connection is None or isinstance(connection, Connection)
    return connection, _CTINFO[skb.ctinfo]


def nf_ct_set(skb: Skb, connection: Connection | None, ctinfo: CtInfo) -> None:
    """Attach a connection to a packet."""
    skb.nfct = connection
    skb.ctinfo = ctinfo
    if connection is not None and not connection.status & IPS_TEMPLATE:
        skb.fate.connection = connection


def nf_ct_set_untracked(skb: Skb) -> None:
    """Mark a packet as not tracked (NOTRACK, CT --notrack)."""
    skb.nfct = None
    skb.ctinfo = CtInfo.UNTRACKED


def nf_ct_tmpl_alloc(zone: Zone = DEFAULT_ZONE) -> Connection:
    """Return a template for the CT target to attach before conntrack runs."""
    nothing = Tuple(bytes(4), bytes(4), 0, 0, 0)
    template = Connection(nothing, nothing, zone)
    template.status = IPS_TEMPLATE
    return template


def ctinfo_direction(ctinfo: int) -> int:
    """Return the direction of a packet (CTINFO2DIR)."""
    return REPLY if ctinfo >= CtInfo.ESTABLISHED_REPLY else ORIGINAL


def state_word(connection: Connection | None, ctinfo: int) -> str:
    """Return the state as `--ctstate` names it."""
    if connection is None:
        return "UNTRACKED" if ctinfo == CtInfo.UNTRACKED else "INVALID"
    if ctinfo in (CtInfo.ESTABLISHED, CtInfo.ESTABLISHED_REPLY):
        return "ESTABLISHED"
    return "NEW" if ctinfo == CtInfo.NEW else "RELATED"
