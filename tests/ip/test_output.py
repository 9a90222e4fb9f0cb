"""Packets of our own on their way out."""

from __future__ import annotations

from typing import Any

from netemu.ip.fib_table import RouteType
from netemu.ip.output import ip_select_ident, ip_select_ttl
from netemu.ip.rtable import Rtable
from netemu.netfilter.hook import Family, Hook, HookState, Verdict
from netemu.skb import ETH_P_IP, Skb
from netemu.wire.address import parse_address
from netemu.wire.ipv4 import IPv4, build_ipv4
from netemu.wire.udp import build_udp

ROUTER, HOST = parse_address("10.1.0.1"), parse_address("10.1.0.2")


def datagram(dst: bytes, *, df: bool = False, ttl: int = 64) -> bytearray:
    payload = build_udp(src=ROUTER, dst=dst, src_port=5, dst_port=6, payload=b"x")
    return build_ipv4(src=ROUTER, dst=dst, protocol=17, payload=payload, dont_fragment=df, ttl=ttl)


def hooks_of(lab: Any) -> list[tuple[str, str, str]]:
    """Note every hook that a packet passes: (hook, in, out)."""
    seen: list[tuple[str, str, str]] = []

    def note(_: Skb, state: HookState) -> Verdict:
        names = [
            device.name if device is not None else "-"
            for device in (state.in_device, state.out_device)
        ]
        seen.append((state.hook.name, names[0], names[1]))
        return Verdict.ACCEPT

    for hook in Hook:
        lab.net.hooks.register(Family.IPV4, hook, 0, note)
    return seen


def test_identification_is_random_without_df(lab: Any) -> None:
    ids = []
    for df, ignore_df in ((False, False), (True, False), (True, True)):
        skb = Skb(datagram(HOST, df=df), protocol=ETH_P_IP, fate=lab.net.new_fate())
        skb.ignore_df = ignore_df
        ip_select_ident(lab.net, skb)
        ids.append(IPv4(skb.data).identification)
    assert ids[1] == 0
    assert ids[0] != ids[2] != 0


def test_multicast_of_our_own_stays_on_its_link(lab: Any) -> None:
    device = lab.net.devices["a0"]
    assert ip_select_ttl(lab.net, Rtable(kind=RouteType.MULTICAST, device=device)) == 1
    assert ip_select_ttl(lab.net, Rtable(kind=RouteType.UNICAST, device=device)) == 64


def test_hooks_of_a_packet_to_ourselves(lab: Any) -> None:
    """Over lo the route is kept, so the packet is not routed again."""
    seen = hooks_of(lab)
    assert lab.send_local(datagram(parse_address("10.2.0.1"))).verdict == "DROP"
    assert seen[:4] == [
        ("OUTPUT", "-", "lo"),
        ("POSTROUTING", "-", "lo"),
        ("PREROUTING", "lo", "-"),
        ("INPUT", "lo", "-"),
    ]


def test_hooks_of_a_packet_that_leaves(lab: Any) -> None:
    seen = hooks_of(lab)
    assert lab.send_local(datagram(HOST)).verdict == "ACCEPT"
    assert seen == [("OUTPUT", "-", "a0"), ("POSTROUTING", "-", "a0")]


def test_hooks_of_a_forwarded_packet(lab: Any) -> None:
    seen = hooks_of(lab)
    source, target = HOST, parse_address("10.2.0.2")
    lab.packet(build_ipv4(src=source, dst=target, protocol=17, payload=bytes(8)))
    assert seen == [
        ("PREROUTING", "a0", "-"),
        ("FORWARD", "a0", "b0"),
        ("POSTROUTING", "a0", "b0"),
    ]


def test_a_broadcast_comes_back_to_us_before_it_leaves(lab: Any) -> None:
    """A program's send lets the softirq run within netif_rx."""
    seen = hooks_of(lab)
    lab.send_local(datagram(parse_address("10.1.0.255")))
    assert [port for port, _ in lab.out] == ["a0"]
    assert seen == [
        ("OUTPUT", "-", "a0"),
        ("POSTROUTING", "-", "a0"),
        ("PREROUTING", "a0", "-"),
        ("INPUT", "a0", "-"),
        ("POSTROUTING", "-", "a0"),
    ]


def test_multicast_with_ttl_nought_stays_here(lab: Any) -> None:
    lab.send_local(datagram(parse_address("224.0.0.1"), ttl=0))
    assert lab.out == []
