"""IPVS and conntrack: the entry of a request learns where its answers come from.

Kernel: net/netfilter/ipvs/ip_vs_nfct.c.

Theory of operation: with net.ipv4.vs.conntrack=1 the entry of a masqueraded connection keeps its
original direction CLIENT -> VIRTUAL; its reply becomes REAL -> CLIENT before it is confirmed, and
no NAT bit is set, since IPVS itself rewrites. With 0 the packets go on untracked.
"""

from __future__ import annotations

from netemu.net import Net
from netemu.netfilter.conntrack.connection import (
    IPS_CONFIRMED,
    IPS_DYING,
    ORIGINAL,
    CtInfo,
    SeqAdjustment,
    ctinfo_direction,
    nf_ct_get,
    nf_ct_set,
)
from netemu.netfilter.conntrack.table import Conntrack, nf_ct_delete
from netemu.netfilter.conntrack.tuple import Tuple
from netemu.netfilter.ipvs.connection import (
    IP_VS_CONN_F_NFCT,
    IP_VS_CONN_F_ONE_PACKET,
    IpvsConnection,
)
from netemu.netfilter.ipvs.service import IP_VS_CONN_F_MASQ
from netemu.skb import Skb
from netemu.wire.ipv4 import IPPROTO_ICMP, IPPROTO_TCP


def ip_vs_update_conntrack(skb: Skb, connection: IpvsConnection, *, outin: bool) -> None:
    """Change the reply of an entry that is not confirmed yet.

    `outin` tells a request, whose answers come from the real server, from an answer that itself
    began the entry and whose other direction asks the virtual address.
    """
    entry, ctinfo = nf_ct_get(skb)
    if entry is None or entry.status & (IPS_CONFIRMED | IPS_DYING):
        return
    if connection.forward != IP_VS_CONN_F_MASQ or connection.flags & IP_VS_CONN_F_ONE_PACKET:
        return
    if ctinfo_direction(ctinfo) != ORIGINAL:
        return
    if connection.app is not None and entry.seqadj is None and entry.protocol == IPPROTO_TCP:
        # Its application may change the length of payloads.
        entry.seqadj = (SeqAdjustment(), SeqAdjustment())
    reply = entry.reply
    ports = reply.protocol != IPPROTO_ICMP
    if outin:
        reply = reply._replace(src=connection.daddr)
        entry.reply = reply._replace(src_part=connection.dport) if ports else reply
    else:
        reply = reply._replace(dst=connection.vaddr)
        entry.reply = reply._replace(dst_part=connection.vport) if ports else reply


def ip_vs_notrack(skb: Skb) -> None:
    """Let a tracked packet go on untracked."""
    entry, _ = nf_ct_get(skb)
    if entry is not None:
        nf_ct_set(skb, None, CtInfo.UNTRACKED)


def ip_vs_track(skb: Skb, connection: IpvsConnection, *, outin: bool) -> None:
    """Do the one or the other, as the connection says."""
    if connection.flags & IP_VS_CONN_F_NFCT:
        ip_vs_update_conntrack(skb, connection, outin=outin)
    else:
        ip_vs_notrack(skb)


def ip_vs_conn_uses_old_conntrack(connection: IpvsConnection, skb: Skb) -> bool:
    """Return whether a packet that begins anew has the confirmed entry of the old connection."""
    if not connection.flags & IP_VS_CONN_F_NFCT:
        return False
    entry, _ = nf_ct_get(skb)
    return entry is not None and bool(entry.status & IPS_CONFIRMED)


def ip_vs_conn_drop_conntrack(net: Net, connection: IpvsConnection) -> None:
    """Remove the conntrack entry of a connection that ended."""
    if not connection.cport:
        return
    found = net.generic(Conntrack).find(
        Tuple(
            connection.caddr,
            connection.vaddr,
            connection.protocol,
            connection.cport,
            connection.vport,
        )
    )
    if found is not None:
        nf_ct_delete(net, found[0], "its IPVS connection ended")
