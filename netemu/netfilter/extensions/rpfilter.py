"""Whether an answer would go out where the packet came in: match `rpfilter`.

Kernel: net/ipv4/netfilter/ipt_rpfilter.c (rpfilter_mt, rpfilter_lookup_reverse),
net/ipv6/netfilter/ip6t_rpfilter.c.

What comes in by loopback always passes, and so does what has no source address yet and goes to
255.255.255.255 or 224.0.0.0/24. Otherwise the way back is looked up: it must be a unicast route
(or, with --accept-local, lead to this node itself) and one of its devices must be the input device,
unless --loose is given.

Differs from Linux: only IPv4 packets are walked so far; rules for IPv6 are read and printed.
"""

from __future__ import annotations

from netemu.ip.fib import Fib, FibResult, Flowi4, RouteType
from netemu.net import Net
from netemu.netfilter.hook import Hook
from netemu.netfilter.xtables.kit import Match, Option, Settings, always
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.space import Field, PacketSpace
from netemu.skb import PacketType, Skb
from netemu.wire.address import (
    IPV4_ANY,
    IPV4_BROADCAST,
    ipv4_is_multicast,
    ipv4_is_zeronet,
)
from netemu.wire.ipv4 import TOS

LOCAL_MULTICAST = bytes([224, 0, 0])
"""224.0.0.0/24 (ipv4_is_local_multicast)."""


class RpfilterInfo:
    """struct xt_rpfilter_info."""

    __slots__ = ("accept_local", "invert", "loose", "valid_mark")

    def __init__(self, settings: Settings) -> None:
        """Take the flags."""
        self.loose = "loose" in settings
        self.valid_mark = "validmark" in settings
        self.accept_local = "accept-local" in settings
        self.invert = "invert" in settings


def rpfilter_mt(info: RpfilterInfo, skb: Skb, param: XtParam) -> bool:
    """Test whether the way back exists."""
    return way_back(info, skb, param) != info.invert


def way_back(info: RpfilterInfo, skb: Skb, param: XtParam) -> bool:
    """Return whether the packet passes."""
    device = param.in_device
    assert device is not None
    if skb.pkt_type == PacketType.LOOPBACK or device.loopback:
        return True
    source, destination = bytes(skb.data[12:16]), bytes(skb.data[16:20])
    if ipv4_is_zeronet(source) and (
        destination == IPV4_BROADCAST or destination.startswith(LOCAL_MULTICAST)
    ):
        return True
    found = _lookup(param.net, info, skb)
    if not isinstance(found, FibResult):
        return False
    kind = found.route.kind
    if kind != RouteType.UNICAST and not (kind == RouteType.LOCAL and info.accept_local):
        return False
    return info.loose or any(way.device is device for way in found.route.nexthops)


def rpfilter_packets(info: RpfilterInfo, space: PacketSpace) -> int:
    """Return the packets with a way back; all rules that look alike are told alike."""
    looks = " ".join(
        name for name in ("loose", "valid_mark", "accept_local") if getattr(info, name)
    )
    passes = space.fact(f"a way back {looks}".rstrip(), Field.TOS, Field.MARK)
    return space.when(info.invert, space.either(space.device(Field.IN_DEVICE, "lo"), passes))


def _lookup(net: Net, info: RpfilterInfo, skb: Skb) -> object:
    """Look up the route to the source (rpfilter_lookup_reverse)."""
    data = skb.data
    destination = bytes(data[16:20])
    flow = Flowi4(
        daddr=bytes(data[12:16]),
        saddr=_rpfilter_get_saddr(destination),
        mark=skb.mark if info.valid_mark else 0,
        tos=data[TOS],
    )
    return net.generic(Fib).lookup(flow, ignore_linkstate=True)


def _rpfilter_get_saddr(address: bytes) -> bytes:
    if ipv4_is_multicast(address) or address == IPV4_BROADCAST or ipv4_is_zeronet(address):
        return IPV4_ANY
    return address


def describe_rpfilter(info: RpfilterInfo, skb: Skb, param: XtParam) -> str:
    """Say by which devices an answer would go."""
    found = _lookup(param.net, info, skb)
    if not isinstance(found, FibResult):
        return "no way back"
    names = [way.device.name for way in found.route.nexthops if way.device is not None]
    return f"way back {found.route.kind.name.lower()} by {', '.join(names) or 'no device'}"


MATCHES = (
    Match(
        name="rpfilter",
        kernel="ipt_rpfilter.c",
        duty="Tests whether an answer would go out by the device that the packet came in by.",
        options=(
            Option("loose", help="Any device will do."),
            Option("validmark", help="The packet's mark counts for policy routing."),
            Option("accept-local", help="The source may be an address of this node."),
            Option("invert", help="Holds for packets that fail the test."),
        ),
        tables=("mangle", "raw"),
        hooks=(Hook.PREROUTING,),
        shares=always,
        build=RpfilterInfo,
        evaluate=rpfilter_mt,
        packets=rpfilter_packets,
        describe=describe_rpfilter,
    ),
)
