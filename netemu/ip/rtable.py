"""The route that a packet carries: where it goes next and what may be sent there.

Kernel: include/net/route.h (struct rtable), include/net/dst.h, include/net/ip.h (MTU choice).
"""

from __future__ import annotations

from enum import Enum, IntFlag

from msgspec import Struct

from netemu.events import RouteChosen
from netemu.ip.fib_table import Errno, FibResult, RouteType
from netemu.net import Net
from netemu.skb import Device, Skb
from netemu.wire.address import IPV4_ANY, format_address

IP_MAX_MTU = 0xFFFF
"""Largest IPv4 packet (include/net/ip.h)."""

IPSKB_FORWARDED = 1 << 0
IPSKB_XFRM_TUNNEL_SIZE = 1 << 1
IPSKB_XFRM_TRANSFORMED = 1 << 2
IPSKB_FRAG_COMPLETE = 1 << 3
IPSKB_REROUTED = 1 << 4
IPSKB_DOREDIRECT = 1 << 5
IPSKB_FRAG_PMTU = 1 << 6
IPSKB_L3SLAVE = 1 << 7
IPSKB_NOPOLICY = 1 << 8
IPSKB_MULTIPATH = 1 << 9
"""Bits of `skb.ip_flags` (include/net/ip.h, IPCB(skb)->flags)."""


class Rtcf(IntFlag):
    """RTCF_* route flags (include/uapi/linux/in_route.h)."""

    BROADCAST = 0x10000000
    MULTICAST = 0x20000000
    LOCAL = 0x80000000


NO_FLAGS = Rtcf(0)


class DstInput(Enum):
    """What takes a received packet (dst->input)."""

    DISCARD = "dst_discard"
    LOCAL_DELIVER = "ip_local_deliver"
    FORWARD = "ip_forward"
    ERROR = "ip_error"


class DstOutput(Enum):
    """What sends a packet (dst->output)."""

    OUTPUT = "ip_output"
    MC_OUTPUT = "ip_mc_output"
    RT_BUG = "ip_rt_bug"


class Rtable(Struct, kw_only=True, eq=False):
    """A route as packets carry it (struct rtable); nothing changes it once it is made."""

    kind: RouteType
    device: Device
    """Where the packet goes: the output device, lo for local delivery (dst->dev)."""
    flags: Rtcf = NO_FLAGS
    gateway: bytes = b""
    """Next hop; empty when the destination is on link (rt_gw4 with rt_uses_gateway)."""
    is_input: bool = False
    iif: int = 0
    """Index of the device that the packet came in by; of the wanted device for output."""
    input: DstInput = DstInput.DISCARD
    output: DstOutput = DstOutput.OUTPUT
    error: Errno | None = None
    mtu: int = 0
    """MTU of the route itself (RTAX_MTU); 0 when it names none."""
    pmtu: int = 0
    """Path MTU that was learnt for the destination (rt_pmtu); 0 when none was."""
    mtu_locked: bool = False
    """The path MTU is a floor, what was learnt was smaller (rt_mtu_locked)."""
    forwards_by_pmtu: bool = False
    """Packets that are forwarded heed the path MTU, too (ip_forward_use_pmtu)."""

    def nexthop(self, daddr: bytes) -> bytes:
        """Return the neighbour to which a packet for `daddr` goes (rt_nexthop)."""
        return self.gateway or daddr


def skb_rtable(skb: Skb) -> Rtable | None:
    """Return the route that the packet carries."""
    route = skb.dst
    assert route is None or isinstance(route, Rtable)
    return route


OLD_PATH_MTU = 576
"""What a gateway is trusted with where the path MTU is locked (RFC 1191)."""


def ip_dst_mtu_maybe_forward(route: Rtable, *, forwarding: bool = False) -> int:
    """Return the largest packet that may take the route."""
    if route.pmtu and (not forwarding or route.forwards_by_pmtu or route.mtu_locked):
        return min(route.pmtu, IP_MAX_MTU)
    if route.mtu:
        return min(route.mtu, IP_MAX_MTU)
    mtu = route.device.mtu
    if route.mtu_locked and route.gateway and mtu > OLD_PATH_MTU:
        mtu = OLD_PATH_MTU
    return min(mtu, IP_MAX_MTU)


def ip_skb_dst_mtu(skb: Skb) -> int:
    """Return the largest packet that `skb`'s route takes."""
    route = skb_rtable(skb)
    assert route is not None
    return ip_dst_mtu_maybe_forward(route, forwarding=bool(skb.ip_flags & IPSKB_FORWARDED))


_TABLE_NAMES = {253: "default", 254: "main", 255: "local"}


def tell_route(
    net: Net, skb: Skb, daddr: bytes, result: FibResult | None, route: Rtable, source: bytes
) -> None:
    """Tell which route was chosen for `daddr`; callers ask whether anybody listens."""
    chosen = None if result is None else result.route
    net.tell(
        skb,
        RouteChosen(
            direction="input" if route.is_input else "output",
            destination=format_address(daddr),
            table="" if chosen is None else _TABLE_NAMES.get(chosen.table, str(chosen.table)),
            prefix="" if chosen is None else f"{format_address(chosen.prefix)}/{chosen.prefix_len}",
            kind="none" if route.error and chosen is None else route.kind.name.lower(),
            device=route.device.name,
            gateway=format_address(route.gateway) if route.gateway else "",
            source="" if source in {b"", IPV4_ANY} else format_address(source),
        ),
    )
