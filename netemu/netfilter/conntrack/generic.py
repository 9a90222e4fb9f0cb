"""Every protocol that has no tracker of its own.

Kernel: net/netfilter/nf_conntrack_proto_generic.c, generic_packet of nf_conntrack_core.c.
"""

from __future__ import annotations

from netemu.net import Net
from netemu.netfilter.conntrack.connection import Connection, CtInfo
from netemu.netfilter.conntrack.judgement import Judgement
from netemu.netfilter.conntrack.table import nf_ct_refresh_acct
from netemu.netfilter.hook import HookState
from netemu.skb import Skb


def generic_packet(
    net: Net, connection: Connection, skb: Skb, offset: int, ctinfo: CtInfo, state: HookState
) -> Judgement:
    """Restart the timeout, the same in both directions; never assured."""
    timeout_s = net.sysctl.get("net.netfilter.nf_conntrack_generic_timeout")
    nf_ct_refresh_acct(net, connection, ctinfo, skb, timeout_s * net.clock.hz)
    return Judgement.VALID
