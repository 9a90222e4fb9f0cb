"""Which packets there can be at all, and which of them may open a connection.

Kernel: net/netfilter/nf_conntrack_proto_tcp.c, nf_conntrack_proto_icmp.c.
"""

from __future__ import annotations

from netemu.analysis.reader import Reader
from netemu.analysis.space import Space
from netemu.netfilter.hook import Family
from netemu.netfilter.xtables.space import CtState, Field
from netemu.wire.ipv4 import IPPROTO_ICMP, IPPROTO_TCP, IPPROTO_UDP

IPPROTO_ICMPV6 = 58

NEW_ICMP = (8, 13, 15, 17)
"""Types that may open a connection (nf_conntrack_proto_icmp.c)."""

NEW_ICMPV6 = (128, 139)
"""Types that may open a connection (nf_conntrack_proto_icmpv6.c)."""

_FIN, _SYN, _RST, _ACK = 0x01, 0x02, 0x04, 0x10

CONNECTION = (
    Field.CT_STATE,
    Field.CT_REPLY,
    Field.CT_DNAT,
    Field.CT_SNAT,
    Field.CT_SEEN_REPLY,
    Field.CT_ASSURED,
    Field.CONNMARK,
)
"""What a packet has from its connection."""

_HAVE_CONNECTION = {CtState.NEW, CtState.ESTABLISHED, CtState.RELATED}


def possible(space: Space, *, raw: bool, tracked: bool) -> int:
    """Return the packets that there can be.

    `raw`: the raw table is known, so that no other makes packets UNTRACKED. `tracked`: conntrack
    looks at packets, and puts fragments together.
    """
    read = Reader(space, space.start, "", 0)
    v6 = space.family == Family.IPV6
    most = len(space.devices) - 1
    state = {one: read.masked(Field.CT_STATE, one) for one in CtState}
    icmp = read.masked(Field.PROTOCOL, IPPROTO_ICMPV6 if v6 else IPPROTO_ICMP)
    tcp = read.masked(Field.PROTOCOL, IPPROTO_TCP)
    seen = [CtState.NEW, CtState.ESTABLISHED, CtState.RELATED, CtState.INVALID]
    if not raw:
        seen.append(CtState.UNTRACKED)
    loopback = 1 if v6 else 0x7F000000
    network = (1 << 128) - 1 if v6 else 0xFF000000
    implied = [
        (state[CtState.NEW], read.masked(Field.CT_REPLY, 0)),
        (
            read.either(*(state[one] for one in CtState if one not in _HAVE_CONNECTION)),
            read.both(*(read.masked(name, 0) for name in CONNECTION if name != Field.CT_STATE)),
        ),
        (
            state[CtState.NEW],
            read.both(*(read.masked(name, 0) for name in CONNECTION if name != Field.CT_STATE)),
        ),
        (read.masked(Field.CT_ASSURED, 1), read.masked(Field.CT_SEEN_REPLY, 1)),
        (read.masked(Field.CT_REPLY, 1), read.masked(Field.CT_SEEN_REPLY, 1)),
        (state[CtState.ESTABLISHED], read.masked(Field.CT_SEEN_REPLY, 1)),
        (tcp, read.span(Field.LENGTH, 40, 0xFFFF)),
        (
            read.either(icmp, read.masked(Field.PROTOCOL, IPPROTO_UDP)),
            read.span(Field.LENGTH, 28, 0xFFFF),
        ),
    ]
    if space.locals is None:
        implied.append(
            (
                read.masked(Field.DESTINATION, loopback, network),
                read.masked(Field.DESTINATION_LOCAL, 1),
            )
        )
    found = read.both(
        read.span(Field.IN_DEVICE, 0, most),
        read.span(Field.OUT_DEVICE, 1, most),
        read.either(*(state[one] for one in seen)),
        read.span(Field.TTL, 1, 255),
        read.span(Field.LENGTH, 20, 0xFFFF),
    )
    if tracked:
        # Conntrack puts fragments together before any rule but those of a second raw table.
        found = read.both(found, read.masked(Field.FRAGMENT, 0))
    for cause, effect in implied:
        found = read.both(found, read.either(cause ^ 1, effect))
    return found


def openings(space: Space) -> int:
    """Return the packets that are NEW only if they may open a connection."""
    read = Reader(space, space.start, "", 0)
    v6 = space.family == Family.IPV6
    new = read.masked(Field.CT_STATE, CtState.NEW)
    icmp = read.masked(Field.PROTOCOL, IPPROTO_ICMPV6 if v6 else IPPROTO_ICMP)
    tcp = read.masked(Field.PROTOCOL, IPPROTO_TCP)
    opening = read.either(
        *(
            read.span(Field.DESTINATION_PORT, kind << 8, kind << 8 | 0xFF)
            for kind in (NEW_ICMPV6 if v6 else NEW_ICMP)
        )
    )
    return read.both(
        read.either(read.both(new, tcp) ^ 1, _new_tcp(read)),
        read.either(read.both(new, icmp) ^ 1, opening),
    )


def _new_tcp(read: Reader) -> int:
    """Return the segments that may open a connection: SYN, or ACK picked up midway.

    Kernel: nf_conntrack_proto_tcp.c (tcp_conntracks, row of sNO), nf_conntrack_tcp_loose.
    """
    return read.either(
        read.masked(Field.TCP_FLAGS, _SYN, _FIN | _SYN | _RST | _ACK),
        read.masked(Field.TCP_FLAGS, _ACK, _SYN | _RST | _ACK | _FIN),
    )
