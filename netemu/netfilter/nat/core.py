"""Binding connections and translating their packets.

Kernel: net/netfilter/nf_nat_core.c.

Theory of operation: a new connection is bound once per side, for the destination at PREROUTING or
OUTPUT, for the source at POSTROUTING or INPUT; without a matching rule it is bound to the address
that it has, and even then its port changes if another connection would get the same answers.
"""

from __future__ import annotations

from netemu.events import NatBound
from netemu.net import Net
from netemu.netfilter.conntrack.connection import (
    IPS_CONFIRMED,
    IPS_DST_NAT,
    IPS_DST_NAT_DONE,
    IPS_SRC_NAT,
    IPS_SRC_NAT_DONE,
    Connection,
    CtInfo,
    SeqAdjustment,
    ctinfo_direction,
)
from netemu.netfilter.conntrack.tuple import half_text, inverse
from netemu.netfilter.hook import Hook, Verdict
from netemu.netfilter.nat.proto import nf_nat_manip_pkt
from netemu.netfilter.nat.range import MAP_IPS, Manip, NatRange, hook_to_manip, status_bit
from netemu.netfilter.nat.unique_tuple import get_unique_tuple
from netemu.skb import Skb


def nf_nat_initialized(connection: Connection, manip: Manip) -> bool:
    """Return whether a side is bound already."""
    return bool(connection.status & (IPS_DST_NAT_DONE if manip else IPS_SRC_NAT_DONE))


def nf_nat_setup_info(
    net: Net, connection: Connection, range_: NatRange, manip: Manip, skb: Skb | None = None
) -> Verdict:
    """Bind one side of a new connection; a confirmed one is left alone.

    `skb` is the packet at hand, for the event.
    """
    if connection.status & IPS_CONFIRMED:
        return Verdict.ACCEPT
    assert not nf_nat_initialized(connection, manip)
    current = inverse(connection.reply)
    new = get_unique_tuple(net, connection, current, range_, manip)
    if new != current:
        connection.reply = inverse(new)
        connection.status |= IPS_DST_NAT if manip else IPS_SRC_NAT
        if connection.helper and connection.seqadj is None:
            connection.seqadj = (SeqAdjustment(), SeqAdjustment())
        if net.sink is not None and skb is not None:
            source = manip == Manip.SRC
            net.tell(
                skb,
                NatBound(
                    manip=manip.word,
                    before=half_text(current, source=source),
                    after=half_text(new, source=source),
                ),
            )
    connection.status |= IPS_DST_NAT_DONE if manip else IPS_SRC_NAT_DONE
    return Verdict.ACCEPT


def nf_nat_alloc_null_binding(
    net: Net, connection: Connection, hook: Hook, skb: Skb | None = None
) -> Verdict:
    """Bind a side to the address that it has."""
    manip = hook_to_manip(hook)
    address = connection.reply.src if manip else connection.reply.dst
    range_ = NatRange(flags=MAP_IPS, min_address=address, max_address=address)
    return nf_nat_setup_info(net, connection, range_, manip, skb)


def nf_nat_packet(
    net: Net, connection: Connection, ctinfo: CtInfo, hook: Hook, skb: Skb
) -> Verdict:
    """Translate a packet as its connection was bound."""
    manip = hook_to_manip(hook)
    direction = ctinfo_direction(ctinfo)
    if connection.status & status_bit(manip, direction):
        return nf_nat_manip_pkt(net, skb, connection, manip, direction)
    return Verdict.ACCEPT
