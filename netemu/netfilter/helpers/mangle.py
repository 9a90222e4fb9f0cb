"""What helpers share: where payload begins, and how NAT changes it and binds the data connection.

Kernel: net/netfilter/nf_nat_helper.c.
"""

from __future__ import annotations

from typing import Final

from netemu.events import HeaderRewritten
from netemu.net import Net
from netemu.netfilter.conntrack.connection import Connection, CtInfo
from netemu.netfilter.conntrack.expect import Expectation, Refusal
from netemu.netfilter.conntrack.helper import nf_ct_expect_related
from netemu.netfilter.conntrack.seqadj import nf_ct_seqadj_set
from netemu.netfilter.nat.core import nf_nat_setup_info
from netemu.netfilter.nat.range import MAP_IPS, PROTO_SPECIFIED, Manip, NatRange
from netemu.skb import Checksum, Skb
from netemu.wire.checksum import fold, pseudo_header_sum
from netemu.wire.fields import get16, set16
from netemu.wire.ipv4 import IPv4
from netemu.wire.tcp import MIN_HEADER_LEN

MAX_PORT: Final = 0xFFFF
MAX_ATTEMPTS: Final = 128
"""Ports that nf_nat_exp_find_port tries."""

TCP_CHECK: Final = 16


def tcp_payload_offset(skb: Skb, transport_offset: int, ctinfo: CtInfo) -> int | None:
    """Return where the payload begins that a helper reads; None where it reads nothing.

    Until both ends have spoken, and of packets without payload, nothing is read.
    """
    if ctinfo not in (CtInfo.ESTABLISHED, CtInfo.ESTABLISHED_REPLY):
        return None
    data = skb.data
    if len(data) < transport_offset + MIN_HEADER_LEN:
        return None
    start = transport_offset + (data[transport_offset + 12] >> 4) * 4
    return start if start < len(data) else None


def nf_nat_mangle_tcp_packet(  # noqa: PLR0913 - the kernel's own parameters
    net: Net,
    skb: Skb,
    connection: Connection,
    ctinfo: CtInfo,
    transport_offset: int,
    start: int,
    length: int,
    new: bytes,
) -> bool:
    """Replace `length` octets at `start` of the payload; False if the packet would be too long."""
    data = skb.data
    if len(data) + len(new) - length > MAX_PORT:
        return False
    old_len = len(data) - transport_offset
    seq = int.from_bytes(data[transport_offset + 4 : transport_offset + 8], "big")
    at = transport_offset + (data[transport_offset + 12] >> 4) * 4 + start
    if net.sink is not None:
        before = bytes(data[at : at + length]).decode("latin-1")
        net.tell(skb, HeaderRewritten(what="payload", before=before, after=new.decode()))
    data[at : at + length] = new
    skb.frag_list = None
    header = IPv4(data)
    header.total_length = len(data)
    header.update_check()
    _csum_recalc(skb, transport_offset, old_len)
    nf_ct_seqadj_set(connection, ctinfo, seq, len(new) - length)
    return True


def _csum_recalc(skb: Skb, transport_offset: int, old_len: int) -> None:
    """Leave the checksum to whoever sends the packet (nf_nat_csum_recalc)."""
    data = skb.data
    new_len = len(data) - transport_offset
    at = transport_offset + TCP_CHECK
    if skb.ip_summed == Checksum.PARTIAL:
        set16(data, at, fold(get16(data, at) + (~old_len & 0xFFFF) + new_len))
        return
    skb.ip_summed = Checksum.PARTIAL
    total = pseudo_header_sum(data[12:16], data[16:20], data[9], new_len)
    set16(data, at, fold(total))


def nf_nat_exp_find_port(net: Net, expectation: Expectation, port: int, skb: Skb) -> int:
    """Register the expectation at a port that nobody else expects; 0 if there is none."""
    entropy = net.entropy.stream("nat")
    span = MAX_PORT - port
    attempts = min(span, MAX_ATTEMPTS)
    candidate = port
    while True:
        expectation.tuple_ = expectation.tuple_._replace(dst_part=candidate)
        refusal = nf_ct_expect_related(net, expectation, skb)
        if refusal is None:
            return candidate
        attempts -= 1
        if refusal is not Refusal.BUSY or attempts < 0:
            return 0
        candidate = port + entropy.u16() % span


def nf_nat_follow_master(net: Net, connection: Connection, expectation: Expectation) -> None:
    """Translate an expected connection as its master is translated."""
    master = expectation.master
    other = master.tuple_of(not expectation.direction)
    if connection.original.src == master.tuple_of(expectation.direction).src:
        source = NatRange(flags=MAP_IPS, min_address=other.dst, max_address=other.dst)
        nf_nat_setup_info(net, connection, source, Manip.SRC)
    target = NatRange(
        flags=MAP_IPS | PROTO_SPECIFIED,
        min_address=other.src,
        max_address=other.src,
        min_part=expectation.saved_part,
        max_part=expectation.saved_part,
    )
    nf_nat_setup_info(net, connection, target, Manip.DST)
