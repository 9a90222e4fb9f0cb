"""Rewriting a packet's addresses and ports, checksums included.

Kernel: net/netfilter/nf_nat_proto.c.

All checksums are updated incrementally, as the kernel does, so a wrong one stays wrong by the same
amount. A partial one (Checksum.PARTIAL) is the uncomplemented sum of the pseudo header: addresses
count in it, ports do not.
"""

from __future__ import annotations

from netemu.events import HeaderRewritten
from netemu.net import Net
from netemu.netfilter.conntrack.connection import Connection
from netemu.netfilter.conntrack.tuple import ICMP_PAIR, Tuple, get_tuple, half_text, inverse
from netemu.netfilter.hook import Verdict
from netemu.netfilter.nat.range import Manip
from netemu.skb import Checksum, Skb
from netemu.wire.checksum import csum_replace, csum_replace2, fold
from netemu.wire.crc32c import crc32c
from netemu.wire.fields import get16, set16
from netemu.wire.ipv4 import (
    CHECK,
    DST,
    IPPROTO_DCCP,
    IPPROTO_GRE,
    IPPROTO_ICMP,
    IPPROTO_SCTP,
    IPPROTO_TCP,
    IPPROTO_UDP,
    IPPROTO_UDPLITE,
    SRC,
)

_WHAT = (("snat", "dnat"), ("un-dnat", "un-snat"))
"""What a rewrite is called: [direction][manip]."""


def nf_nat_manip_pkt(
    net: Net, skb: Skb, connection: Connection, manip: Manip, direction: int
) -> Verdict:
    """Make one side of a packet look like the inverse of the other direction's tuple."""
    target = inverse(connection.tuple_of(not direction))
    before = _seen(net, skb, manip) if net.sink is not None else ""
    if not nf_nat_ipv4_manip_pkt(skb, 0, target, manip):
        return Verdict.DROP
    if net.sink is not None:
        # A packet that comes back over the loopback device is rewritten to what it is already.
        after = _seen(net, skb, manip)
        if after != before:
            what = _WHAT[direction][manip]
            net.tell(skb, HeaderRewritten(what=what, before=before, after=after))
    return Verdict.ACCEPT


def _seen(net: Net, skb: Skb, manip: Manip) -> str:
    """Return one end of a packet as text."""
    data = skb.data
    tuple_ = get_tuple(data, 0, skb.transport_offset, data[9], dccp=net.kernel == "6.1")
    return half_text(tuple_, source=manip == Manip.SRC) if tuple_ is not None else ""


def nf_nat_ipv4_manip_pkt(skb: Skb, offset: int, target: Tuple, manip: Manip) -> bool:
    """Rewrite one side of the packet whose IPv4 header is at `offset`; False if it is cut short."""
    data = skb.data
    if len(data) < offset + 20:
        return False
    l4_offset = offset + (data[offset] & 0x0F) * 4
    if not _l4proto_manip_pkt(skb, offset, l4_offset, target, manip):
        return False
    at = offset + (DST if manip else SRC)
    new = target.dst if manip else target.src
    check = get16(data, offset + CHECK)
    set16(data, offset + CHECK, csum_replace(check, data[at : at + 4], new))
    data[at : at + 4] = new
    return True


def _l4proto_manip_pkt(skb: Skb, ip_offset: int, offset: int, target: Tuple, manip: Manip) -> bool:
    protocol = target.protocol
    if protocol == IPPROTO_TCP:
        return _checksummed(skb, ip_offset, offset, target, manip, (20, 16))
    if protocol in (IPPROTO_UDP, IPPROTO_UDPLITE):
        return _udp_manip_pkt(skb, ip_offset, offset, target, manip)
    if protocol == IPPROTO_ICMP:
        return _icmp_manip_pkt(skb, offset, target)
    if protocol == IPPROTO_SCTP:
        return _sctp_manip_pkt(skb, offset, target, manip)
    if protocol == IPPROTO_DCCP and target.has_ports:
        return _checksummed(skb, ip_offset, offset, target, manip, (12, 6))
    if protocol == IPPROTO_GRE:
        return _gre_manip_pkt(skb, offset, target, manip)
    return True


def _replace_port(data: bytearray, offset: int, target: Tuple, manip: Manip) -> tuple[int, int]:
    at = offset + 2 if manip else offset
    old = get16(data, at)
    new = target.dst_part if manip else target.src_part
    set16(data, at, new)
    return old, new


def _csum_update(
    skb: Skb, ip_offset: int, check_at: int, target: Tuple, manip: Manip, ports: tuple[int, int]
) -> None:
    """Update a checksum that covers the pseudo header (inet_proto_csum_replace4 and 2)."""
    data = skb.data
    at = ip_offset + (DST if manip else SRC)
    new = target.dst if manip else target.src
    check = get16(data, check_at)
    if skb.ip_summed == Checksum.PARTIAL:
        total = check
        for index in range(0, len(new), 2):
            total += (~get16(data, at + index) & 0xFFFF) + get16(new, index)
        set16(data, check_at, fold(total))
        return
    check = csum_replace(check, data[at : at + len(new)], new)
    set16(data, check_at, csum_replace2(check, *ports))


def _checksummed(
    skb: Skb, ip_offset: int, offset: int, target: Tuple, manip: Manip, layout: tuple[int, int]
) -> bool:
    """Change a port; the checksum too if the header is whole (not so inside an ICMP error)."""
    header_len, check_at = layout
    data = skb.data
    if len(data) < offset + 8:
        return False
    whole = len(data) >= offset + header_len
    skb.ensure_writable(offset + (header_len if whole else 8))
    ports = _replace_port(data, offset, target, manip)
    if whole:
        _csum_update(skb, ip_offset, offset + check_at, target, manip, ports)
    return True


def _udp_manip_pkt(skb: Skb, ip_offset: int, offset: int, target: Tuple, manip: Manip) -> bool:
    """Change a port; a checksum of 0 means that there is none, except with UDP-Lite."""
    data = skb.data
    if len(data) < offset + 8:
        return False
    check_at = offset + 6
    with_sum = target.protocol == IPPROTO_UDPLITE or get16(data, check_at) != 0
    ports = _replace_port(data, offset, target, manip)
    if with_sum:
        _csum_update(skb, ip_offset, check_at, target, manip, ports)
        if not get16(data, check_at):
            set16(data, check_at, 0xFFFF)
    return True


def _icmp_manip_pkt(skb: Skb, offset: int, target: Tuple) -> bool:
    """Change the id of a query or its answer; other messages have none."""
    data = skb.data
    if len(data) < offset + 8:
        return False
    if data[offset] not in ICMP_PAIR:
        return True
    if skb.ip_summed != Checksum.PARTIAL:
        check = get16(data, offset + 2)
        set16(data, offset + 2, csum_replace2(check, get16(data, offset + 4), target.src_part))
    set16(data, offset + 4, target.src_part)
    return True


def _sctp_manip_pkt(skb: Skb, offset: int, target: Tuple, manip: Manip) -> bool:
    """Change a port and compute the CRC32c anew."""
    data = skb.data
    if len(data) < offset + 8:
        return False
    skb.ensure_writable(offset + (12 if len(data) >= offset + 12 else 8))
    _replace_port(data, offset, target, manip)
    if len(data) >= offset + 12 and skb.ip_summed != Checksum.PARTIAL:
        data[offset + 8 : offset + 12] = bytes(4)
        data[offset + 8 : offset + 12] = crc32c(data[offset:]).to_bytes(4, "little")
    return True


def _gre_manip_pkt(skb: Skb, offset: int, target: Tuple, manip: Manip) -> bool:
    """Change the call id of PPTP's GRE; only the destination has one."""
    data = skb.data
    if len(data) < offset + 8:
        return False
    if manip == Manip.SRC:
        return True
    version = data[offset + 1] & 0x07
    if version == 1:
        set16(data, offset + 6, target.dst_part)
    return version <= 1
