"""Sequence numbers of a TCP connection whose payload NAT made longer or shorter.

Kernel: net/netfilter/nf_conntrack_seqadj.c.

Theory of operation: what one end sends after the change has other numbers at the other end. Per
direction there is the offset before the latest change, the one after it, and the number at which
it happened; a packet from before the change, such as a retransmission, gets the older offset.
"""

from __future__ import annotations

from netemu.events import HeaderRewritten
from netemu.net import Net
from netemu.netfilter.conntrack.connection import (
    IPS_SEQ_ADJUST,
    Connection,
    CtInfo,
    SeqAdjustment,
    ctinfo_direction,
)
from netemu.netfilter.conntrack.tcp_window import after, before
from netemu.skb import Checksum, Skb
from netemu.wire.checksum import csum_replace
from netemu.wire.fields import get16, set16
from netemu.wire.tcp import MIN_HEADER_LEN, Flag

MASK32 = 0xFFFFFFFF

SEQ, ACK, FLAGS, CHECK = 4, 8, 13, 16
"""Offsets in the TCP header."""

TCPOPT_EOL, TCPOPT_NOP, TCPOPT_SACK = 0, 1, 5
SACK_BLOCK_LEN = 8


def nf_ct_seqadj_set(connection: Connection, ctinfo: CtInfo, seq: int, offset: int) -> None:
    """Note that the payload at `seq` became `offset` octets longer."""
    if not offset or connection.seqadj is None:
        return
    way = connection.seqadj[ctinfo_direction(ctinfo)]
    connection.status |= IPS_SEQ_ADJUST
    if way.offset_before == way.offset_after or before(way.correction_pos, seq):
        way.correction_pos = seq
        way.offset_before = way.offset_after
        way.offset_after += offset


def nf_ct_seq_offset(connection: Connection, direction: int, seq: int) -> int:
    """Return by how much numbers of a direction are shifted at `seq`."""
    if connection.seqadj is None:
        return 0
    return _offset_at(connection.seqadj[direction], seq)


def _offset_at(way: SeqAdjustment, seq: int) -> int:
    return way.offset_after if after(seq, way.correction_pos) else way.offset_before


def nf_ct_seq_adjust(
    net: Net, skb: Skb, connection: Connection, ctinfo: CtInfo, transport_offset: int
) -> bool:
    """Shift the numbers of a packet; False when its header is cut short."""
    assert connection.seqadj is not None
    direction = ctinfo_direction(ctinfo)
    this_way = connection.seqadj[direction]
    other_way = connection.seqadj[not direction]
    data = skb.data
    if len(data) < transport_offset + MIN_HEADER_LEN:
        return False
    seq = _get32(data, transport_offset + SEQ)
    shifted = (seq + _offset_at(this_way, seq)) & MASK32
    _replace32(skb, transport_offset, SEQ, shifted)
    if net.sink is not None and shifted != seq:
        net.tell(skb, HeaderRewritten(what="seq", before=str(seq), after=str(shifted)))
    if not data[transport_offset + FLAGS] & Flag.ACK:
        return True
    ack = _get32(data, transport_offset + ACK)
    shifted = (ack - _answered_offset(other_way, ack)) & MASK32
    _replace32(skb, transport_offset, ACK, shifted)
    if net.sink is not None and shifted != ack:
        net.tell(skb, HeaderRewritten(what="ack", before=str(ack), after=str(shifted)))
    return _sack_adjust(skb, transport_offset, other_way)


def _answered_offset(way: SeqAdjustment, number: int) -> int:
    """Return the shift of a number that the receiver of a direction gives back."""
    return _offset_at(way, (number - way.offset_before) & MASK32)


def _sack_adjust(skb: Skb, transport_offset: int, way: SeqAdjustment) -> bool:
    """Shift the edges of SACK blocks (nf_ct_sack_adjust)."""
    data = skb.data
    at = transport_offset + MIN_HEADER_LEN
    end = transport_offset + (data[transport_offset + 12] >> 4) * 4
    if len(data) < end:
        return False
    skb.ensure_writable(end)
    while at < end:
        kind = data[at]
        if kind == TCPOPT_EOL:
            return True
        if kind == TCPOPT_NOP:
            at += 1
            continue
        if at + 1 == end or at + data[at + 1] > end or data[at + 1] < 2:
            return False
        size = data[at + 1]
        if kind == TCPOPT_SACK and size >= 2 + SACK_BLOCK_LEN and not (size - 2) % SACK_BLOCK_LEN:
            for edge in range(at + 2, at + size, 4):
                number = _get32(data, edge)
                shifted = number - _answered_offset(way, number)
                _replace32(skb, transport_offset, edge - transport_offset, shifted)
        at += size
    return True


def _get32(data: bytearray, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "big")


def _replace32(skb: Skb, transport_offset: int, field: int, number: int) -> None:
    """Write a number and update the checksum (inet_proto_csum_replace4)."""
    data = skb.data
    at = transport_offset + field
    new = (number & MASK32).to_bytes(4, "big")
    if skb.ip_summed != Checksum.PARTIAL:
        check = get16(data, transport_offset + CHECK)
        set16(data, transport_offset + CHECK, csum_replace(check, data[at : at + 4], new))
    data[at : at + 4] = new
