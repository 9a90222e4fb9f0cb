"""Whether a packet's source address may come in by its device (rp_filter, martians).

Kernel: net/ipv4/fib_frontend.c (fib_validate_source, __fib_validate_source).
"""

from __future__ import annotations

from msgspec import Struct

from netemu.ip.devinet import RT_SCOPE_HOST, Addresses
from netemu.ip.fib import Fib, FibResult, Flowi4, RouteType
from netemu.ip.fib_table import LOOPBACK_IFINDEX, FibRoute
from netemu.net import Net
from netemu.skb import Device, Skb
from netemu.wire.fields import get16
from netemu.wire.ipv4 import IPPROTO_TCP, IPPROTO_UDP

IP_LOCAL_SOURCE = "IP_LOCAL_SOURCE"
IP_RPFILTER = "IP_RPFILTER"
IP_INVALID_SOURCE = "IP_INVALID_SOURCE"
"""Drop reasons (enum skb_drop_reason)."""


class SourceCheck(Struct, frozen=True):
    """The answer: a drop reason, or none; and whether the source is a neighbour on link."""

    reason: str = ""
    on_link: bool = False


_OK = SourceCheck()
_ON_LINK = SourceCheck(on_link=True)
_LOCAL_SOURCE = SourceCheck(IP_LOCAL_SOURCE)
_RPFILTER = SourceCheck(IP_RPFILTER)
_INVALID_SOURCE = SourceCheck(IP_INVALID_SOURCE)


def fib_validate_source(  # noqa: PLR0913 - the kernel's own parameters
    net: Net, skb: Skb, src: bytes, dst: bytes, tos: int, oif: int, device: Device
) -> SourceCheck:
    """Judge the source of a packet that came in by `device` and would leave by `oif`."""
    sysctl = net.sysctl
    rp_filter = sysctl.conf_max(device.name, "rp_filter")
    redirects = device.ifindex == oif and sysctl.conf_or(device.name, "send_redirects")
    if not rp_filter and not redirects:
        if sysctl.conf_or(device.name, "accept_local"):
            return _OK
        fib = net.generic(Fib)
        if not fib.custom_local_routes and not fib.has_custom_rules:
            known = src in net.generic(Addresses).by_local
            return _LOCAL_SOURCE if known else _OK
    return _full_check(net, skb, src, dst, tos, oif, device, rp_filter)


def _full_check(  # noqa: PLR0913 - the kernel's own parameters
    net: Net,
    skb: Skb,
    src: bytes,
    dst: bytes,
    tos: int,
    oif: int,
    device: Device,
    rp_filter: int,
) -> SourceCheck:
    """Look the way back up (__fib_validate_source)."""
    fib = net.generic(Fib)
    src_valid_mark = net.sysctl.conf_or(device.name, "src_valid_mark")
    flow = Flowi4(
        daddr=src,
        saddr=dst,
        iif=oif or LOOPBACK_IFINDEX,
        tos=tos,
        mark=skb.mark if src_valid_mark else 0,
    )
    if fib.rules_need_ports:
        dissect_ports(skb, flow)
        flow.src_port, flow.dst_port = flow.dst_port, flow.src_port
    last_resort = _RPFILTER if rp_filter else _OK
    found = fib.lookup(flow)
    if not isinstance(found, FibResult):
        return last_resort
    kind = found.route.kind
    if kind == RouteType.LOCAL:
        if not net.sysctl.conf_or(device.name, "accept_local"):
            return _LOCAL_SOURCE
    elif kind != RouteType.UNICAST:
        return _INVALID_SOURCE
    if _uses_device(found.route, device) or (kind == RouteType.LOCAL and device.loopback):
        return _ON_LINK if found.nexthop.scope >= RT_SCOPE_HOST else _OK
    if not net.generic(Addresses).of(device):
        return last_resort
    if rp_filter == 1:
        return _RPFILTER
    flow.oif = device.ifindex
    found = fib.lookup(flow, ignore_linkstate=True)
    if isinstance(found, FibResult) and found.route.kind == RouteType.UNICAST:
        return _ON_LINK if found.nexthop.scope >= RT_SCOPE_HOST else _OK
    return _OK


def _uses_device(route: FibRoute, device: Device) -> bool:
    return any(way.device is device for way in route.nexthops)


def dissect_ports(skb: Skb, flow: Flowi4) -> None:
    """Fill in protocol and ports of a flow from the packet (fib4_rules_early_flow_dissect)."""
    data = skb.data
    flow.protocol = data[9]
    start = skb.transport_offset
    first = not get16(data, 6) & 0x1FFF
    if first and flow.protocol in _PORT_PROTOCOLS and len(data) >= start + 4:
        flow.src_port = get16(data, start)
        flow.dst_port = get16(data, start + 2)


_PORT_PROTOCOLS = frozenset((IPPROTO_TCP, IPPROTO_UDP, 33, 132))
"""TCP, UDP, DCCP and SCTP have ports where the flow dissector looks."""
