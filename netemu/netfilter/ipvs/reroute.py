"""A new route for an answer that got the virtual address back.

Kernel: net/netfilter/ipvs/ip_vs_core.c (ip_vs_route_me_harder).
"""

from __future__ import annotations

from netemu.ip.fib_table import RouteType
from netemu.ip.output import route_of
from netemu.ip.route import ip_route_me_harder
from netemu.ip.rtable import Rtcf
from netemu.net import Net
from netemu.netfilter.hook import Hook
from netemu.skb import Skb


def ip_vs_route_me_harder(net: Net, skb: Skb, hook: Hook) -> bool:
    """Route an answer to a remote client as if the node sent it; False when that fails.

    net.ipv4.vs.snat_reroute=0 leaves the route alone.
    """
    if not net.sysctl.get("net.ipv4.vs.snat_reroute") or hook == Hook.INPUT:
        return True
    if route_of(skb).flags & Rtcf.LOCAL:
        return True
    return ip_route_me_harder(net, skb, RouteType.LOCAL) is None
