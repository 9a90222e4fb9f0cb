"""Sequence numbers after NAT changed a payload's length."""

from __future__ import annotations

from netemu.netfilter.conntrack.connection import Connection, CtInfo, SeqAdjustment
from netemu.netfilter.conntrack.seqadj import nf_ct_seq_offset, nf_ct_seqadj_set
from netemu.netfilter.conntrack.tuple import Tuple, inverse


def adjusted() -> Connection:
    original = Tuple(bytes(4), bytes(4), 6, 1000, 21)
    connection = Connection(original, inverse(original))
    connection.seqadj = (SeqAdjustment(), SeqAdjustment())
    return connection


def test_what_was_sent_before_the_change_keeps_the_older_offset():
    connection = adjusted()
    nf_ct_seqadj_set(connection, CtInfo.ESTABLISHED, 100, 4)
    nf_ct_seqadj_set(connection, CtInfo.ESTABLISHED, 300, -1)
    assert [nf_ct_seq_offset(connection, 0, seq) for seq in (200, 300, 301)] == [4, 4, 3]
    assert nf_ct_seq_offset(connection, 1, 301) == 0


def test_a_retransmission_does_not_add_to_the_offset():
    connection = adjusted()
    nf_ct_seqadj_set(connection, CtInfo.ESTABLISHED, 100, 4)
    nf_ct_seqadj_set(connection, CtInfo.ESTABLISHED, 100, 4)
    assert nf_ct_seq_offset(connection, 0, 101) == 4
