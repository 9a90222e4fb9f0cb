"""ICMP: queries are connections, errors belong to the connection they quote.

Kernel: net/netfilter/nf_conntrack_proto_icmp.c.
"""

from __future__ import annotations

from typing import Final

from netemu.net import Net
from netemu.netfilter.conntrack.connection import REPLY, Connection, CtInfo, nf_ct_set
from netemu.netfilter.conntrack.judgement import (
    Judgement,
    nf_checksum_bad,
    nf_l4proto_log_invalid,
)
from netemu.netfilter.conntrack.table import Conntrack, nf_ct_refresh_acct
from netemu.netfilter.conntrack.tuple import get_l4proto, get_tuple, invert_tuple
from netemu.netfilter.conntrack.zones import nf_ct_zone_tmpl
from netemu.netfilter.hook import HookState
from netemu.skb import Skb
from netemu.wire.address import format_address
from netemu.wire.ipv4 import IPPROTO_ICMP

ICMP_HEADER_LEN = 8

NEW_TYPES: Final = frozenset({8, 13, 15, 17})
"""Echo, timestamp, information and address mask requests may begin a connection."""

ERROR_TYPES: Final = frozenset({3, 4, 5, 11, 12})
"""icmp_is_err: unreachable, quench, redirect, time exceeded, parameter problem."""

HIGHEST_TYPE = 18
"""NR_ICMP_TYPES."""


def nf_conntrack_icmp_packet(
    net: Net, connection: Connection, skb: Skb, offset: int, ctinfo: CtInfo, state: HookState
) -> Judgement:
    """Judge a query or its answer."""
    if connection.original.dst_part >> 8 not in NEW_TYPES:
        return Judgement.INVALID
    timeout_s = net.sysctl.get("net.netfilter.nf_conntrack_icmp_timeout")
    nf_ct_refresh_acct(net, connection, ctinfo, skb, timeout_s * net.clock.hz)
    return Judgement.VALID


def nf_conntrack_icmpv4_error(
    net: Net, template: Connection | None, skb: Skb, offset: int, state: HookState
) -> bool:
    """Check an ICMP packet and, if it is an error, attach the connection it is about.

    Returns False for an INVALID packet.
    """
    data = skb.data
    if len(data) < offset + ICMP_HEADER_LEN:
        nf_l4proto_log_invalid(net, skb, state, IPPROTO_ICMP, "short packet")
        return False
    if net.sysctl.get("net.netfilter.nf_conntrack_checksum") and nf_checksum_bad(
        skb, state, offset, IPPROTO_ICMP
    ):
        nf_l4proto_log_invalid(net, skb, state, IPPROTO_ICMP, "bad hw icmp checksum")
        return False
    kind = data[offset]
    if kind > HIGHEST_TYPE:
        nf_l4proto_log_invalid(net, skb, state, IPPROTO_ICMP, "invalid icmp type")
        return False
    if kind not in ERROR_TYPES:
        return True
    return nf_conntrack_inet_error(net, template, skb, offset + ICMP_HEADER_LEN, state)


def nf_conntrack_inet_error(
    net: Net, template: Connection | None, skb: Skb, inner_offset: int, state: HookState
) -> bool:
    """Attach the connection of the packet quoted at `inner_offset`; False if there is none.

    The quoted packet went the other way, so its tuple is inverted for the lookup. The error must
    be addressed to the end that sent the quoted packet.
    """
    protocol, transport_offset = get_l4proto(skb.data, inner_offset)
    if not transport_offset:
        return False
    quoted = get_tuple(skb.data, inner_offset, transport_offset, protocol, dccp=net.kernel == "6.1")
    inner = invert_tuple(quoted) if quoted is not None else None
    if inner is None:
        return False
    found = net.generic(Conntrack).find(inner, nf_ct_zone_tmpl(template, skb))
    if found is None:
        return False
    connection, direction = found
    outer_daddr = bytes(skb.data[16:20])
    daddr = connection.tuple_of(direction).dst
    if outer_daddr != daddr:
        text = f"outer daddr {format_address(outer_daddr)} != inner {format_address(daddr)}"
        nf_l4proto_log_invalid(net, skb, state, IPPROTO_ICMP, text)
        return False
    ctinfo = CtInfo.RELATED_REPLY if direction == REPLY else CtInfo.RELATED
    nf_ct_set(skb, connection, ctinfo)
    return True
