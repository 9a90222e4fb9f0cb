"""Conntrack's place at the hooks.

Kernel: net/netfilter/nf_conntrack_proto.c (ipv4_conntrack_ops),
net/ipv4/netfilter/nf_defrag_ipv4.c.

Theory of operation: a namespace tracks connections only once something in it wants to know: a
state match, a NAT target, the CT target. Each of them calls `nf_ct_netns_get`; the first call
registers the functions below, and they stay.
"""

from __future__ import annotations

from functools import partial

from netemu.ip.fragment import DefragUser, ip_defrag
from netemu.net import Net
from netemu.netfilter.conntrack.connection import CtInfo, ctinfo_direction, nf_ct_get
from netemu.netfilter.conntrack.core import nf_confirm, nf_conntrack_attach, nf_conntrack_in
from netemu.netfilter.hook import Family, Hook, HookState, Priority, Verdict
from netemu.skb import Skb


class ConntrackHooks:
    """Whether a namespace tracks connections."""

    __slots__ = ("net", "users")

    def __init__(self, net: Net) -> None:
        """Start untracked; found by `net.generic(ConntrackHooks)`."""
        self.net = net
        self.users = 0


def nf_ct_netns_get(net: Net) -> None:
    """Track connections from now on."""
    hooks = net.generic(ConntrackHooks)
    hooks.users += 1
    if hooks.users > 1:
        return
    net.nf_ct_attach = partial(nf_conntrack_attach, net)
    defrag = partial(ipv4_conntrack_defrag, net)
    track = partial(nf_conntrack_in, net)
    confirm = partial(nf_confirm, net)
    register = partial(net.hooks.register, Family.IPV4)
    register(Hook.PREROUTING, Priority.CONNTRACK_DEFRAG, defrag)
    register(Hook.OUTPUT, Priority.CONNTRACK_DEFRAG, defrag)
    register(Hook.PREROUTING, Priority.CONNTRACK, track)
    register(Hook.OUTPUT, Priority.CONNTRACK, track)
    register(Hook.POSTROUTING, Priority.LAST, confirm)
    register(Hook.INPUT, Priority.LAST, confirm)


def ipv4_conntrack_defrag(net: Net, skb: Skb, state: HookState) -> Verdict:
    """Gather fragments, so that conntrack and the tables see whole packets."""
    connection, ctinfo = nf_ct_get(skb)
    if connection is None and ctinfo == CtInfo.UNTRACKED:
        return Verdict.ACCEPT
    if not skb.data[6] & 0x3F and not skb.data[7]:
        return Verdict.ACCEPT
    if not ip_defrag(net, skb, nf_ct_defrag_user(skb, state)):
        return Verdict.STOLEN
    # The sender's DF was meant for its fragments; see ip_fragment.
    skb.ignore_df = True
    return Verdict.ACCEPT


def nf_ct_defrag_user(skb: Skb, state: HookState) -> int:
    """Return whose fragments these are, so that hooks and zones do not mix."""
    connection, ctinfo = nf_ct_get(skb)
    zone_id = 0
    if connection is not None:
        zone_id = connection.zone.id_in(ctinfo_direction(ctinfo))
    if skb.nf_bridge is not None and skb.nf_bridge.in_prerouting:
        return DefragUser.CONNTRACK_BRIDGE_IN + zone_id
    if state.hook == Hook.PREROUTING:
        return DefragUser.CONNTRACK_IN + zone_id
    return DefragUser.CONNTRACK_OUT + zone_id
