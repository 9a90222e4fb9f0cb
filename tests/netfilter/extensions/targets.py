"""Targets built from rule text, and packets to try them on; used by the tests beside it."""

from __future__ import annotations

from netemu.events import Event, Stamp
from netemu.net import Net
from netemu.netfilter.hook import Family, Hook, Verdict
from netemu.netfilter.xtables.param import XtParam
from netemu.skb import ETH_P_IP, Device, Skb
from netemu.wire.checksum import internet_checksum, l4_checksum
from netemu.wire.ipv4 import IPv4, build_ipv4
from netemu.wire.tcp import build_tcp
from netemu.wire.udp import build_udp
from tests.netfilter.extensions.packets import DESTINATION, SOURCE, rule


def tcp(options: str = "", *, payload: bytes = b"", flags: int = 2, tos: int = 0) -> Skb:
    """A segment, by default a SYN."""
    segment = build_tcp(
        src=SOURCE,
        dst=DESTINATION,
        src_port=1000,
        dst_port=80,
        seq=1,
        flags=flags,
        options=bytes.fromhex(options),
        payload=payload,
    )
    return skb_of(segment, 6, tos=tos)


def udp(tos: int = 0, ttl: int = 64) -> Skb:
    """A datagram without payload."""
    datagram = build_udp(src=SOURCE, dst=DESTINATION, src_port=1000, dst_port=53)
    return skb_of(datagram, 17, tos=tos, ttl=ttl)


def skb_of(payload: bytes | bytearray, protocol: int, *, tos: int = 0, ttl: int = 64) -> Skb:
    data = build_ipv4(
        src=SOURCE, dst=DESTINATION, protocol=protocol, payload=bytes(payload), tos=tos, ttl=ttl
    )
    return Skb(data, protocol=ETH_P_IP, fate=Net().new_fate())


def apply(
    words: str,
    skb: Skb,
    *,
    net: Net | None = None,
    table: str = "mangle",
    hook: Hook = Hook.FORWARD,
    device: Device | None = None,
) -> Verdict | None:
    """Read a rule, attach its target, and apply it to the packet."""
    net = net or Net()
    target = rule(words, chain=hook.name, table=table).target
    assert target is not None
    if target.attach is not None:
        target.attach(net, target.settings)
    return target.apply(target.settings, skb, param(skb, net, hook, device))


def param(skb: Skb, net: Net, hook: Hook = Hook.FORWARD, device: Device | None = None) -> XtParam:
    told = XtParam(net=net, family=Family.IPV4, hook=hook, in_device=device, out_device=None)
    told.fragoff = (skb.data[6] << 8 | skb.data[7]) & 0x1FFF
    told.thoff = skb.transport_offset
    return told


def is_whole(skb: Skb) -> bool:
    """Whether header and TCP or UDP checksum and the length are right."""
    header = IPv4(skb.data)
    start = header.header_len
    return (
        not internet_checksum(skb.data[:start])
        and header.total_length == len(skb.data)
        and not l4_checksum(header.src, header.dst, header.protocol, skb.data[start:])
    )


def heard(net: Net) -> list[Event]:
    """Collect what a namespace tells from now on."""
    found: list[Event] = []

    def sink(_stamp: Stamp, event: Event) -> None:
        found.append(event)

    net.sink = sink
    return found
