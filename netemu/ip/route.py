"""Routing: what is done with a received packet, and how one of our own leaves.

Kernel: net/ipv4/route.c (ip_route_input_slow, ip_route_output_key_hash_rcu),
net/ipv4/netfilter.c (ip_route_me_harder).

Routes are looked up for each packet; there is no cache, since nothing in the result depends on an
earlier packet, but for what ICMP errors taught (exceptions.py).

Differs from Linux: nodes are members of the multicast group 224.0.0.1 only, since snapshots do not
tell others, and multicast is not routed.
"""

from __future__ import annotations

from netemu.ip.devinet import (
    RT_SCOPE_HOST,
    RT_SCOPE_LINK,
    RT_SCOPE_UNIVERSE,
    inet_addr_onlink,
    inet_select_addr,
)
from netemu.ip.exceptions import NexthopExceptions
from netemu.ip.fib import (
    Fib,
    FibResult,
    fib_result_prefsrc,
    fib_select_multipath,
    fib_select_path,
    inet_addr_type,
)
from netemu.ip.fib_table import LOOPBACK_IFINDEX, Errno, Flowi4, Nexthop, RouteType
from netemu.ip.multipath import fib_multipath_hash
from netemu.ip.rtable import (
    IPSKB_DOREDIRECT,
    IPSKB_MULTIPATH,
    NO_FLAGS,
    DstInput,
    DstOutput,
    Rtable,
    Rtcf,
    ip_dst_mtu_maybe_forward,
    ip_skb_dst_mtu,
    skb_rtable,
    tell_route,
)
from netemu.ip.validate_source import dissect_ports, fib_validate_source
from netemu.link.ratelimit import net_ratelimit
from netemu.net import Net
from netemu.skb import ETH_P_IP, Device, Skb
from netemu.wire.address import (
    IPV4_ANY,
    IPV4_BROADCAST,
    IPV4_LOOPBACK,
    format_address,
    ipv4_is_loopback,
    ipv4_is_multicast,
    ipv4_is_zeronet,
)
from netemu.wire.ipv4 import IPPROTO_IGMP, IPv4

__all__ = [
    "DstInput",
    "DstOutput",
    "Flowi4",
    "Rtable",
    "Rtcf",
    "fib_compute_spec_dst",
    "ip_dst_mtu_maybe_forward",
    "ip_route_input",
    "ip_route_me_harder",
    "ip_route_output_key",
    "ip_skb_dst_mtu",
    "rt_tos2priority",
    "skb_rtable",
]

INET_DSCP_MASK = 0xFC
"""Bits of the TOS octet that routing looks at (include/net/inet_dscp.h)."""

IP_INVALID_SOURCE = "IP_INVALID_SOURCE"
IP_INVALID_DEST = "IP_INVALID_DEST"
IP_LOCALNET = "IP_LOCALNET"
NOT_SPECIFIED = "NOT_SPECIFIED"
"""Drop reasons (enum skb_drop_reason)."""

_TOS_PRIORITY = (0, 0, 0, 0, 2, 2, 2, 2, 6, 6, 6, 6, 4, 4, 4, 4)
"""skb->priority by the four TOS bits (ip_tos2prio in net/ipv4/route.c)."""

ALL_HOSTS = bytes((224, 0, 0, 1))
"""The group that every host is a member of (RFC 1112)."""


def ip_route_input(net: Net, skb: Skb, daddr: bytes, saddr: bytes, tos: int, device: Device) -> str:
    """Give a received packet its route; a drop reason if it may not have one, else empty."""
    tos &= INET_DSCP_MASK
    if ipv4_is_multicast(daddr):
        if not ip_check_mc(device, daddr):
            return NOT_SPECIFIED
        return _ip_route_input_mc(net, skb, daddr, saddr, tos, device)
    return _ip_route_input_slow(net, skb, daddr, saddr, tos, device)


def ip_check_mc(device: Device, group: bytes) -> bool:
    """Return whether the node is a member of a multicast group on `device`."""
    return device.up and group == ALL_HOSTS


def _ip_route_input_mc(
    net: Net, skb: Skb, daddr: bytes, saddr: bytes, tos: int, device: Device
) -> str:
    reason = _ip_mc_validate_source(net, skb, daddr, saddr, tos, device)
    if reason:
        return reason
    route = Rtable(
        kind=RouteType.MULTICAST,
        device=loopback_of(net, device),
        flags=Rtcf.MULTICAST | Rtcf.LOCAL,
        is_input=True,
        iif=device.ifindex,
        input=DstInput.LOCAL_DELIVER,
        output=DstOutput.RT_BUG,
    )
    _set_input(net, skb, daddr, None, route)
    return ""


def _ip_mc_validate_source(
    net: Net, skb: Skb, daddr: bytes, saddr: bytes, tos: int, device: Device
) -> str:
    if ipv4_is_multicast(saddr) or saddr == IPV4_BROADCAST:
        return IP_INVALID_SOURCE
    if skb.protocol != ETH_P_IP:
        return NOT_SPECIFIED
    if ipv4_is_loopback(saddr) and not net.sysctl.conf_or(device.name, "route_localnet"):
        return IP_LOCALNET
    if not ipv4_is_zeronet(saddr):
        return fib_validate_source(net, skb, saddr, IPV4_ANY, tos, 0, device).reason
    local = daddr[:3] == b"\xe0\x00\x00"
    return "" if local or skb.data[9] == IPPROTO_IGMP else IP_INVALID_SOURCE


def _ip_route_input_slow(
    net: Net, skb: Skb, daddr: bytes, saddr: bytes, tos: int, device: Device
) -> str:
    skb.dst = None
    name = device.name
    if ipv4_is_multicast(saddr) or saddr == IPV4_BROADCAST:
        return _martian_source(net, skb, device, daddr, saddr, IP_INVALID_SOURCE)
    if daddr == IPV4_BROADCAST or (saddr == IPV4_ANY and daddr == IPV4_ANY):
        return _broadcast_input(net, skb, daddr, saddr, tos, device, None)
    if ipv4_is_zeronet(saddr):
        return _martian_source(net, skb, device, daddr, saddr, IP_INVALID_SOURCE)
    if ipv4_is_zeronet(daddr):
        return _martian_destination(net, skb, device, daddr, saddr, IP_INVALID_DEST)
    if ipv4_is_loopback(daddr):
        if not net.sysctl.conf_or(name, "route_localnet"):
            return _martian_destination(net, skb, device, daddr, saddr, IP_LOCALNET)
    elif ipv4_is_loopback(saddr) and not net.sysctl.conf_or(name, "route_localnet"):
        return _martian_source(net, skb, device, daddr, saddr, IP_LOCALNET)

    flow = Flowi4(daddr=daddr, saddr=saddr, iif=device.ifindex, mark=skb.mark, tos=tos)
    fib = net.generic(Fib)
    if fib.rules_need_ports:
        dissect_ports(skb, flow)
    found = fib.lookup(flow)
    forwarding = net.sysctl.conf(name, "forwarding")
    if not isinstance(found, FibResult):
        return _no_route(net, skb, daddr, device, found if forwarding else Errno.EHOSTUNREACH)
    kind = found.route.kind
    if kind == RouteType.BROADCAST:
        if not net.sysctl.conf_and(name, "bc_forwarding"):
            return _broadcast_input(net, skb, daddr, saddr, tos, device, found)
    elif kind == RouteType.LOCAL:
        return _unicast_to_us(net, skb, daddr, saddr, tos, device, found)
    elif not forwarding:
        return _no_route(net, skb, daddr, device, Errno.EHOSTUNREACH)
    elif kind != RouteType.UNICAST:
        return _martian_destination(net, skb, device, daddr, saddr, IP_INVALID_DEST)
    return _mkroute_input(net, skb, daddr, saddr, flow, device, found)


def _unicast_to_us(  # noqa: PLR0913 - the kernel's own parameters
    net: Net,
    skb: Skb,
    daddr: bytes,
    saddr: bytes,
    tos: int,
    device: Device,
    found: FibResult,
) -> str:
    reason = fib_validate_source(net, skb, saddr, daddr, tos, 0, device).reason
    if reason:
        return _martian_source(net, skb, device, daddr, saddr, reason)
    _local_input(net, skb, daddr, device, found, RouteType.LOCAL, Rtcf.LOCAL)
    return ""


def _broadcast_input(  # noqa: PLR0913 - the kernel's own parameters
    net: Net,
    skb: Skb,
    daddr: bytes,
    saddr: bytes,
    tos: int,
    device: Device,
    found: FibResult | None,
) -> str:
    if skb.protocol != ETH_P_IP:
        return NOT_SPECIFIED
    if not ipv4_is_zeronet(saddr):
        reason = fib_validate_source(net, skb, saddr, IPV4_ANY, tos, 0, device).reason
        if reason:
            return _martian_source(net, skb, device, daddr, saddr, reason)
    flags = Rtcf.LOCAL | Rtcf.BROADCAST
    _local_input(net, skb, daddr, device, found, RouteType.BROADCAST, flags)
    return ""


def _local_input(  # noqa: PLR0913 - the parts of a route
    net: Net,
    skb: Skb,
    daddr: bytes,
    device: Device,
    found: FibResult | None,
    kind: RouteType,
    flags: Rtcf,
) -> None:
    route = Rtable(
        kind=kind,
        device=loopback_of(net, device),
        flags=flags,
        is_input=True,
        iif=device.ifindex,
        input=DstInput.LOCAL_DELIVER,
        output=DstOutput.RT_BUG,
    )
    _set_input(net, skb, daddr, found, route)


def _no_route(net: Net, skb: Skb, daddr: bytes, device: Device, error: Errno) -> str:
    """Give the packet a route that ends in ip_error."""
    route = Rtable(
        kind=RouteType.UNREACHABLE,
        device=loopback_of(net, device),
        is_input=True,
        iif=device.ifindex,
        input=DstInput.ERROR,
        output=DstOutput.RT_BUG,
        error=error,
    )
    _set_input(net, skb, daddr, None, route)
    return ""


def _mkroute_input(  # noqa: PLR0913 - the kernel's own parameters
    net: Net,
    skb: Skb,
    daddr: bytes,
    saddr: bytes,
    flow: Flowi4,
    device: Device,
    found: FibResult,
) -> str:
    """Route onwards (ip_mkroute_input, __mkroute_input)."""
    if len(found.route.nexthops) > 1:
        # The input path asks without a flow, so no nexthop is preferred for its source.
        fib_select_multipath(net, found, fib_multipath_hash(net, flow, skb), IPV4_ANY)
        skb.ip_flags |= IPSKB_MULTIPATH
    way = found.nexthop
    out_device = way.device
    assert out_device is not None
    check = fib_validate_source(net, skb, saddr, daddr, flow.tos, out_device.ifindex, device)
    if check.reason:
        return _martian_source(net, skb, device, daddr, saddr, check.reason)
    if out_device is device:
        if skb.protocol != ETH_P_IP and not net.sysctl.conf_or(device.name, "proxy_arp_pvlan"):
            return NOT_SPECIFIED
        if check.on_link and _may_redirect(net, skb, device, saddr, way):
            skb.ip_flags |= IPSKB_DOREDIRECT
    route = Rtable(
        kind=found.route.kind,
        device=out_device,
        gateway=way.next_hop,
        is_input=True,
        iif=device.ifindex,
        input=DstInput.FORWARD,
        mtu=found.route.mtu,
    )
    _bind_exception(net, route, found, daddr)
    _set_input(net, skb, daddr, found, route)
    return ""


def _may_redirect(net: Net, skb: Skb, device: Device, saddr: bytes, way: Nexthop) -> bool:
    sysctl = net.sysctl
    if skb.protocol != ETH_P_IP or not sysctl.conf_or(device.name, "send_redirects"):
        return False
    gateway = way.gateway if len(way.gateway) == 4 else IPV4_ANY
    shared = sysctl.conf_or(device.name, "shared_media")
    return shared or inet_addr_onlink(net, device, saddr, gateway)


def _set_input(net: Net, skb: Skb, daddr: bytes, found: FibResult | None, route: Rtable) -> None:
    skb.dst = route
    if net.sink is not None:
        tell_route(net, skb, daddr, found, route, b"")


def loopback_of(net: Net, fallback: Device) -> Device:
    """Return `lo` of the namespace; a namespace built without one uses `fallback`."""
    return net.devices.get("lo", fallback)


def _martian_source(
    net: Net, skb: Skb, device: Device, daddr: bytes, saddr: bytes, reason: str
) -> str:
    """Log and drop (ip_handle_martian_source)."""
    if net.sysctl.conf_or(device.name, "log_martians") and net_ratelimit(net, skb):
        net.printk(
            skb,
            f"IPv4: martian source {format_address(daddr)} from {format_address(saddr)}, "
            f"on dev {device.name}",
        )
        if skb.mac_header:
            net.printk(skb, f"ll header: 00000000: {skb.mac_header.hex(' ')}")
    return reason


def _martian_destination(
    net: Net, skb: Skb, device: Device, daddr: bytes, saddr: bytes, reason: str
) -> str:
    if net.sysctl.conf_or(device.name, "log_martians") and net_ratelimit(net, skb):
        net.printk(
            skb,
            f"IPv4: martian destination {format_address(daddr)} from "
            f"{format_address(saddr)}, dev {device.name}",
        )
    return reason


def ip_route_output_key(net: Net, flow: Flowi4, skb: Skb | None = None) -> Rtable | Errno:
    """Return the route of a packet of our own, and fill in `flow.saddr` and `flow.oif`.

    `skb` is the packet for which events are told.
    """
    flow.iif = LOOPBACK_IFINDEX
    flow.tos &= INET_DSCP_MASK
    made = _output_key_rcu(net, flow)
    if isinstance(made, Errno):
        return made
    found, route = made
    if net.sink is not None and skb is not None:
        tell_route(net, skb, flow.daddr, found, route, flow.saddr)
    return route


_Made = tuple[FibResult | None, Rtable] | Errno


def _output_key_rcu(net: Net, flow: Flowi4) -> _Made:
    """Follow ip_route_output_key_hash_rcu."""
    orig_oif = flow.oif
    if flow.saddr != IPV4_ANY:
        if _is_no_source(flow.saddr):
            return Errno.EINVAL
        if not flow.oif and (ipv4_is_multicast(flow.daddr) or flow.daddr == IPV4_BROADCAST):
            owner = ip_dev_find(net, flow.saddr)
            if owner is None:
                return Errno.ENETUNREACH
            flow.oif = owner.ifindex
            return _mkroute_output(net, flow, None, RouteType.UNSPEC, orig_oif, owner)
        if not flow.any_source and ip_dev_find(net, flow.saddr) is None:
            return Errno.ENETUNREACH
    out_device: Device | None = None
    if flow.oif:
        out_device = net.device_by_index(flow.oif)
        if out_device is None:
            return Errno.ENODEV
        if not out_device.up:
            return Errno.ENETUNREACH
        if _stays_on_link(flow):
            if flow.saddr == IPV4_ANY:
                flow.saddr = inet_select_addr(net, out_device, IPV4_ANY, RT_SCOPE_LINK)
            return _mkroute_output(net, flow, None, RouteType.UNSPEC, orig_oif, out_device)
        _select_source_of_device(net, flow, out_device)
    if flow.daddr == IPV4_ANY:
        flow.daddr = flow.saddr = flow.saddr if flow.saddr != IPV4_ANY else IPV4_LOOPBACK
        lo = net.devices["lo"]
        flow.oif = LOOPBACK_IFINDEX
        return _mkroute_output(net, flow, None, RouteType.LOCAL, orig_oif, lo)
    return _output_lookup(net, flow, orig_oif, out_device)


def _is_no_source(address: bytes) -> bool:
    return ipv4_is_multicast(address) or address == IPV4_BROADCAST or ipv4_is_zeronet(address)


def _stays_on_link(flow: Flowi4) -> bool:
    """Return whether the flow goes out of its device without a lookup."""
    local_multicast = flow.daddr[:3] == b"\xe0\x00\x00"
    return local_multicast or flow.daddr == IPV4_BROADCAST or flow.protocol == IPPROTO_IGMP


def _select_source_of_device(net: Net, flow: Flowi4, device: Device) -> None:
    if flow.saddr != IPV4_ANY:
        return
    if ipv4_is_multicast(flow.daddr):
        flow.saddr = inet_select_addr(net, device, IPV4_ANY, flow.scope)
    elif flow.daddr == IPV4_ANY:
        flow.saddr = inet_select_addr(net, device, IPV4_ANY, RT_SCOPE_HOST)


def _output_lookup(net: Net, flow: Flowi4, orig_oif: int, out_device: Device | None) -> _Made:
    found = net.generic(Fib).lookup(flow)
    if not isinstance(found, FibResult):
        if out_device is None:
            return found
        # With a device given, a destination without a route is taken to be on link.
        if flow.saddr == IPV4_ANY:
            flow.saddr = inet_select_addr(net, out_device, IPV4_ANY, RT_SCOPE_LINK)
        return _mkroute_output(net, flow, None, RouteType.UNICAST, orig_oif, out_device)
    device = found.nexthop.device
    assert device is not None
    if found.route.kind == RouteType.LOCAL:
        if flow.saddr == IPV4_ANY:
            flow.saddr = found.route.source or flow.daddr
        lo = loopback_of(net, device)
        flow.oif = lo.ifindex
        return _mkroute_output(net, flow, found, RouteType.LOCAL, device.ifindex, lo)
    fib_select_path(net, found, flow)
    device = found.nexthop.device
    assert device is not None
    return _mkroute_output(net, flow, found, found.route.kind, orig_oif, device)


def _mkroute_output(
    net: Net,
    flow: Flowi4,
    found: FibResult | None,
    kind: RouteType,
    orig_oif: int,
    device: Device,
) -> _Made:
    """Follow __mkroute_output."""
    loopback_source = ipv4_is_loopback(flow.saddr) and not device.loopback
    if loopback_source and not net.sysctl.conf_or(device.name, "route_localnet"):
        return Errno.EINVAL
    if flow.daddr == IPV4_BROADCAST:
        kind, found = RouteType.BROADCAST, None
    elif ipv4_is_multicast(flow.daddr):
        kind = RouteType.MULTICAST
        if found is not None and found.route.prefix_len < 4:
            found = None
    elif ipv4_is_zeronet(flow.daddr):
        return Errno.EINVAL
    flags = Rtcf.LOCAL if device.loopback or kind == RouteType.LOCAL else NO_FLAGS
    if kind == RouteType.BROADCAST:
        flags |= Rtcf.BROADCAST | Rtcf.LOCAL
    elif kind == RouteType.MULTICAST:
        # Without a member not even the loopback device's: what goes round there is discarded.
        flags = Rtcf.MULTICAST
        if ip_check_mc(device, flow.daddr):
            flags |= Rtcf.LOCAL
    looped = bool(flags & (Rtcf.BROADCAST | Rtcf.MULTICAST)) and bool(flags & Rtcf.LOCAL)
    route = Rtable(
        kind=kind,
        device=device,
        flags=flags,
        gateway=found.nexthop.next_hop if found is not None else b"",
        iif=orig_oif,
        input=DstInput.LOCAL_DELIVER if flags & Rtcf.LOCAL else DstInput.DISCARD,
        output=DstOutput.MC_OUTPUT if looped and not device.loopback else DstOutput.OUTPUT,
        mtu=found.route.mtu if found is not None else 0,
    )
    if found is not None:
        _bind_exception(net, route, found, flow.daddr)
    return found, route


def _bind_exception(net: Net, route: Rtable, found: FibResult, daddr: bytes) -> None:
    """Let a route take up what was learnt about its destination (rt_bind_exception)."""
    known = net.generic(NexthopExceptions).find(found.nexthop, daddr)
    if known is None:
        return
    route.pmtu, route.mtu_locked = known.pmtu, known.mtu_locked
    route.forwards_by_pmtu = bool(net.sysctl.get("net.ipv4.ip_forward_use_pmtu"))
    route.gateway = known.gateway or route.gateway


def ip_dev_find(net: Net, address: bytes) -> Device | None:
    """Return the device to which a local address belongs (__ip_dev_find)."""
    fib = net.generic(Fib)
    entry = fib.addresses.by_local.get(address)
    if entry is not None:
        return entry.device
    # Addresses such as 127.1.2.3 are local by their prefix alone.
    found = fib.local_lookup(address)
    if isinstance(found, FibResult) and found.route.kind == RouteType.LOCAL:
        return found.route.nexthops[0].device
    return None


def ip_route_me_harder(
    net: Net, skb: Skb, address_type: RouteType = RouteType.UNSPEC
) -> Errno | None:
    """Route a packet of our own anew after netfilter changed it; the error if that fails."""
    header = IPv4(skb.data)
    saddr = header.src
    if address_type == RouteType.UNSPEC:
        address_type = inet_addr_type(net, saddr)
    any_source = address_type in {RouteType.LOCAL, RouteType.UNICAST}
    flow = Flowi4(
        daddr=header.dst,
        saddr=saddr if any_source else IPV4_ANY,
        tos=header.tos,
        mark=skb.mark,
        any_source=any_source,
    )
    if net.generic(Fib).rules_need_ports:
        dissect_ports(skb, flow)
    route = ip_route_output_key(net, flow, skb)
    if isinstance(route, Errno):
        return route
    skb.dst = route
    return route.error


def fib_compute_spec_dst(net: Net, skb: Skb) -> bytes:
    """Return our address that a received packet was meant for, as source of an answer."""
    route = skb_rtable(skb)
    device = skb.device
    assert route is not None
    assert device is not None
    header = IPv4(skb.data)
    if route.flags & (Rtcf.BROADCAST | Rtcf.MULTICAST | Rtcf.LOCAL) == Rtcf.LOCAL:
        return header.dst
    saddr = header.src
    if ipv4_is_zeronet(saddr):
        return inet_select_addr(net, device, saddr, RT_SCOPE_LINK)
    mark = skb.mark if net.sysctl.conf_or(device.name, "src_valid_mark") else 0
    flow = Flowi4(daddr=saddr, tos=header.tos & INET_DSCP_MASK, mark=mark)
    found = net.generic(Fib).lookup(flow)
    if isinstance(found, FibResult):
        return fib_result_prefsrc(net, found)
    return inet_select_addr(net, device, saddr, RT_SCOPE_UNIVERSE)


def rt_tos2priority(tos: int) -> int:
    """Return the queueing priority that goes with a TOS octet."""
    return _TOS_PRIORITY[(tos & 0x1E) >> 1]
