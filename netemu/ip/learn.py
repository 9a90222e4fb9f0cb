"""What received ICMP errors teach about a destination: a path MTU, a better gateway.

Kernel: net/ipv4/route.c (ipv4_update_pmtu, ipv4_redirect), net/ipv4/ping.c and icmp.c (icmp_err).

Theory of operation: the kernel hands an error to the protocol that it quotes. TCP and UDP look for
a socket that sent such a packet; the node's only packets without one are its echo replies, so those
are what errors can teach about.
"""

from __future__ import annotations

from netemu.ip.devinet import inet_addr_onlink
from netemu.ip.exceptions import MIN_PMTU, NexthopExceptions, route_setting
from netemu.ip.fib import Fib, fib_select_path, inet_addr_type
from netemu.ip.fib_table import Errno, FibResult, Flowi4, RouteType
from netemu.ip.neighbour import NeighbourTable
from netemu.ip.nud import VALID
from netemu.ip.route import ip_route_output_key
from netemu.ip.rtable import ip_dst_mtu_maybe_forward
from netemu.net import Net
from netemu.skb import Device, Skb
from netemu.wire.address import IPV4_BROADCAST, ipv4_is_multicast, ipv4_is_zeronet


def ipv4_update_pmtu(net: Net, flow: Flowi4, mtu: int) -> None:
    """Believe a router that packets of `flow` must be smaller (__ip_rt_update_pmtu)."""
    route = ip_route_output_key(net, flow)
    if isinstance(route, Errno):
        return
    old = ip_dst_mtu_maybe_forward(route)
    if old < mtu:
        return
    floor = route_setting(net, "min_pmtu", MIN_PMTU)
    locked = mtu < floor
    if locked:
        mtu = min(old, floor)
    found = net.generic(Fib).lookup(flow)
    if isinstance(found, FibResult):
        fib_select_path(net, found, flow)
        net.generic(NexthopExceptions).learn_pmtu(found.nexthop, flow.daddr, mtu, locked=locked)


def ipv4_redirect(net: Net, flow: Flowi4, skb: Skb, gateway: bytes) -> None:
    """Believe the gateway of `flow` that another one is nearer (__ip_do_redirect)."""
    route = ip_route_output_key(net, flow)
    device, old = skb.device, bytes(skb.data[12:16])
    if isinstance(route, Errno) or device is None or route.gateway != old:
        return
    if gateway == old or not _takes_redirects(net, device) or not _may_be_gateway(gateway):
        return
    if net.sysctl.conf_or(device.name, "shared_media"):
        if inet_addr_type(net, gateway) != RouteType.UNICAST:
            return
    elif not inet_addr_onlink(net, device, gateway, old) or (
        net.sysctl.conf_or(device.name, "secure_redirects")
        and not _is_default_gateway(net, gateway, device)
    ):
        return
    table = net.generic(NeighbourTable)
    entry = table.find_or_create(gateway, route.device)
    if entry is None:
        return
    if not entry.state & VALID:
        table.event_send(entry, None)
        return
    found = net.generic(Fib).lookup(flow)
    if isinstance(found, FibResult):
        fib_select_path(net, found, flow)
        net.generic(NexthopExceptions).learn_gateway(found.nexthop, flow.daddr, gateway)


def _may_be_gateway(address: bytes) -> bool:
    return not (ipv4_is_multicast(address) or address == IPV4_BROADCAST or ipv4_is_zeronet(address))


def _takes_redirects(net: Net, device: Device) -> bool:
    """Return whether redirects are heeded (IN_DEV_RX_REDIRECTS): a router needs both settings."""
    sysctl = net.sysctl
    if sysctl.conf(device.name, "forwarding"):
        return sysctl.conf_and(device.name, "accept_redirects")
    return sysctl.conf_or(device.name, "accept_redirects")


def _is_default_gateway(net: Net, gateway: bytes, device: Device) -> bool:
    """Return whether a way of a route goes by `gateway` (ip_fib_check_default)."""
    return any(
        way.gateway == gateway and way.device is device
        for table in net.generic(Fib).tables.values()
        for route in table.routes()
        for way in route.nexthops
    )
