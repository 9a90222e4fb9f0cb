"""UDP and UDP-Lite.

Kernel: net/netfilter/nf_conntrack_proto_udp.c.
"""

from __future__ import annotations

from netemu.net import Net
from netemu.netfilter.conntrack.connection import (
    IPS_ASSURED,
    IPS_CONFIRMED,
    IPS_NAT_CLASH,
    IPS_SEEN_REPLY,
    Connection,
    CtInfo,
)
from netemu.netfilter.conntrack.judgement import (
    Judgement,
    nf_checksum_bad,
    nf_ip_checksum_partial_bad,
    nf_l4proto_log_invalid,
)
from netemu.netfilter.conntrack.table import nf_ct_refresh_acct
from netemu.netfilter.hook import Hook, HookState
from netemu.skb import Skb
from netemu.wire.ipv4 import IPPROTO_UDP, IPPROTO_UDPLITE

UDP_HEADER_LEN = 8

STREAM_AFTER_S = 2
"""A two-way connection older than this is a stream (nf_conntrack_udp_packet)."""


def nf_conntrack_udp_packet(
    net: Net, connection: Connection, skb: Skb, offset: int, ctinfo: CtInfo, state: HookState
) -> Judgement:
    """Judge a UDP packet and restart the timeout."""
    fault = _udp_error(net, skb, offset, state)
    if fault:
        nf_l4proto_log_invalid(net, skb, state, IPPROTO_UDP, fault)
        return Judgement.INVALID
    clock = net.clock
    status = connection.status
    if not status & IPS_CONFIRMED:
        connection.stream_from = clock.jiffies + STREAM_AFTER_S * clock.hz
    key = "net.netfilter.nf_conntrack_udp_timeout"
    if status & IPS_SEEN_REPLY and clock.jiffies > connection.stream_from:
        key = "net.netfilter.nf_conntrack_udp_timeout_stream"
        if not status & IPS_NAT_CLASH:
            connection.status |= IPS_ASSURED
    nf_ct_refresh_acct(net, connection, ctinfo, skb, net.sysctl.get(key) * clock.hz)
    return Judgement.VALID


def _udp_error(net: Net, skb: Skb, offset: int, state: HookState) -> str:
    """Return what is wrong with a UDP header (udp_error), empty if nothing is."""
    data = skb.data
    length = len(data) - offset
    if length < UDP_HEADER_LEN:
        return "short packet"
    claimed = data[offset + 4] << 8 | data[offset + 5]
    if not UDP_HEADER_LEN <= claimed <= length:
        return "truncated/malformed packet"
    if not data[offset + 6] and not data[offset + 7]:
        return ""
    if net.sysctl.get("net.netfilter.nf_conntrack_checksum") and nf_checksum_bad(
        skb, state, offset, IPPROTO_UDP
    ):
        return "bad checksum"
    return ""


def nf_conntrack_udplite_packet(
    net: Net, connection: Connection, skb: Skb, offset: int, ctinfo: CtInfo, state: HookState
) -> Judgement:
    """Judge a UDP-Lite packet: the UDP timeouts, without the wait for a stream."""
    fault = _udplite_error(net, skb, offset, state)
    if fault:
        nf_l4proto_log_invalid(net, skb, state, IPPROTO_UDPLITE, fault)
        return Judgement.INVALID
    key = "net.netfilter.nf_conntrack_udp_timeout"
    if connection.status & IPS_SEEN_REPLY:
        key = "net.netfilter.nf_conntrack_udp_timeout_stream"
        if not connection.status & IPS_NAT_CLASH:
            connection.status |= IPS_ASSURED
    nf_ct_refresh_acct(net, connection, ctinfo, skb, net.sysctl.get(key) * net.clock.hz)
    return Judgement.VALID


def _udplite_error(net: Net, skb: Skb, offset: int, state: HookState) -> str:
    """Return what is wrong with a UDP-Lite header (udplite_error)."""
    data = skb.data
    length = len(data) - offset
    if length < UDP_HEADER_LEN:
        return "short packet"
    coverage = data[offset + 4] << 8 | data[offset + 5]
    if coverage and not UDP_HEADER_LEN <= coverage <= length:
        return "invalid checksum coverage"
    if not data[offset + 6] and not data[offset + 7]:
        return "checksum missing"
    # The kernel puts UDP's number into the pseudo header, so right checksums are refused (asked
    # of 6.18).
    if (
        net.sysctl.get("net.netfilter.nf_conntrack_checksum")
        and state.hook == Hook.PREROUTING
        and nf_ip_checksum_partial_bad(skb, offset, IPPROTO_UDP, coverage or length)
    ):
        return "bad checksum"
    return ""
