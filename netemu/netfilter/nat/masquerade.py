"""MASQUERADE: SNAT to whatever address the output device has.

Kernel: net/netfilter/nf_nat_masquerade.c.
"""

from __future__ import annotations

from msgspec.structs import replace

from netemu.ip.devinet import inet_select_addr
from netemu.ip.rtable import skb_rtable
from netemu.net import Net
from netemu.netfilter.conntrack.connection import nf_ct_get
from netemu.netfilter.conntrack.table import Conntrack, nf_ct_delete
from netemu.netfilter.hook import Verdict
from netemu.netfilter.nat.core import nf_nat_setup_info
from netemu.netfilter.nat.range import MAP_IPS, Manip, NatRange
from netemu.skb import Device, Skb

RT_SCOPE_UNIVERSE = 0
"""include/uapi/linux/rtnetlink.h"""


def masq_device_event(net: Net, device: Device) -> None:
    """Forget the connections that were masqueraded for a device that went down."""
    for connection in list(net.generic(Conntrack)):
        if connection.masq_ifindex == device.ifindex:
            nf_ct_delete(net, connection, f"{device.name} went down")


def masq_inet_event(net: Net, device: Device, address: bytes) -> None:
    """Forget the connections that were masqueraded by an address which a device has lost."""
    for connection in list(net.generic(Conntrack)):
        if connection.masq_ifindex == device.ifindex and connection.reply.dst == address:
            nf_ct_delete(net, connection, f"{device.name} lost its address")


def nf_nat_masquerade_ipv4(net: Net, skb: Skb, range_: NatRange, out_device: Device) -> Verdict:
    """Bind the source to the address with which `out_device` speaks to the next hop."""
    connection, _ = nf_ct_get(skb)
    assert connection is not None
    if not any(connection.original.src):
        # Our own packet from 0.0.0.0, such as DHCP's: leave it alone.
        return Verdict.ACCEPT
    route = skb_rtable(skb)
    assert route is not None
    next_hop = route.nexthop(bytes(skb.data[16:20]))
    source = inet_select_addr(net, out_device, next_hop, RT_SCOPE_UNIVERSE)
    if not any(source):
        net.printk(skb, f"{out_device.name} ate my IP address")
        return Verdict.DROP
    connection.masq_ifindex = out_device.ifindex
    chosen = replace(range_, flags=range_.flags | MAP_IPS, min_address=source, max_address=source)
    return nf_nat_setup_info(net, connection, chosen, Manip.SRC, skb)
