"""REDIRECT: DNAT to this machine itself.

Kernel: net/netfilter/nf_nat_redirect.c.
"""

from __future__ import annotations

from msgspec.structs import replace

from netemu.ip.devinet import Addresses
from netemu.net import Net
from netemu.netfilter.conntrack.connection import nf_ct_get
from netemu.netfilter.hook import Hook, Verdict
from netemu.netfilter.nat.core import nf_nat_setup_info
from netemu.netfilter.nat.range import MAP_IPS, Manip, NatRange
from netemu.skb import Skb
from netemu.wire.address import IPV4_ANY, IPV4_LOOPBACK


def nf_nat_redirect_ipv4(net: Net, skb: Skb, range_: NatRange, hook: Hook) -> Verdict:
    """Bind the destination: our own packets to 127.0.0.1, others to the first address of the
    device that they came in by; without one they are dropped.
    """
    connection, _ = nf_ct_get(skb)
    assert connection is not None
    address = IPV4_LOOPBACK
    if hook != Hook.OUTPUT:
        assert skb.device is not None
        entries = net.generic(Addresses).of(skb.device)
        address = entries[0].local if entries else IPV4_ANY
        if address == IPV4_ANY:
            return Verdict.DROP
    chosen = replace(range_, flags=range_.flags | MAP_IPS, min_address=address, max_address=address)
    return nf_nat_setup_info(net, connection, chosen, Manip.DST, skb)
