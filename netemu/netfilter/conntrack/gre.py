"""GRE: tracked by call id for PPTP, else by addresses alone.

Kernel: net/netfilter/nf_conntrack_proto_gre.c.
"""

from __future__ import annotations

from netemu.net import Net
from netemu.netfilter.conntrack.connection import (
    IPS_ASSURED,
    IPS_SEEN_REPLY,
    Connection,
    CtInfo,
)
from netemu.netfilter.conntrack.judgement import Judgement
from netemu.netfilter.conntrack.table import nf_ct_refresh_acct
from netemu.netfilter.hook import HookState
from netemu.skb import Skb


def nf_conntrack_gre_packet(
    net: Net, connection: Connection, skb: Skb, offset: int, ctinfo: CtInfo, state: HookState
) -> Judgement:
    """Restart the timeout: longer, and assured, once there was an answer."""
    key = "net.netfilter.nf_conntrack_gre_timeout"
    if connection.status & IPS_SEEN_REPLY:
        key = "net.netfilter.nf_conntrack_gre_timeout_stream"
        connection.status |= IPS_ASSURED
    nf_ct_refresh_acct(net, connection, ctinfo, skb, net.sysctl.get(key) * net.clock.hz)
    return Judgement.VALID
