"""Answers to a broadcast: from any host of the subnet, for a few seconds.

Kernel: net/netfilter/nf_conntrack_broadcast.c.

Only questions of the node itself count, sent to the broadcast address of the device that they leave
by. The expectation stays when an answer comes, since more may follow.
"""

from __future__ import annotations

from netemu.ip.devinet import Addresses
from netemu.ip.rtable import Rtcf, skb_rtable
from netemu.net import Net
from netemu.netfilter.conntrack.connection import (
    IPS_FIXED_TIMEOUT,
    ORIGINAL,
    Connection,
    CtInfo,
    ctinfo_direction,
)
from netemu.netfilter.conntrack.expect import ONE_PART, Expectation
from netemu.netfilter.conntrack.helper import nf_ct_expect_related
from netemu.netfilter.hook import Verdict
from netemu.skb import Device, Skb
from netemu.wire.address import mask_of


def nf_conntrack_broadcast_help(
    net: Net, skb: Skb, connection: Connection, ctinfo: CtInfo, *, port: int, timeout_s: int
) -> Verdict:
    """Expect answers from `port` of anybody in the subnet; the question itself rests as long."""
    route = skb_rtable(skb)
    if skb.sk is None or route is None or not route.flags & Rtcf.BROADCAST:
        return Verdict.ACCEPT
    if ctinfo_direction(ctinfo) != ORIGINAL:
        return Verdict.ACCEPT
    mask = _mask_of_broadcast(net, route.device, bytes(skb.data[16:20]))
    if not mask:
        return Verdict.ACCEPT
    expectation = Expectation(
        master=connection,
        tuple_=connection.reply._replace(src_part=port),
        src_mask=mask,
        src_part_mask=ONE_PART,
        permanent=True,
    )
    nf_ct_expect_related(net, expectation, skb)
    if not connection.status & IPS_FIXED_TIMEOUT:
        connection.timeout = timeout_s * net.clock.hz
        if connection.confirmed:
            connection.timeout += net.clock.jiffies
    return Verdict.ACCEPT


def _mask_of_broadcast(net: Net, device: Device, address: bytes) -> bytes:
    """Return the netmask of the subnet whose broadcast address this is; empty for none."""
    for entry in net.generic(Addresses).of(device):
        if not entry.secondary and entry.broadcast == address:
            return mask_of(entry.prefix_len)
    return b""
