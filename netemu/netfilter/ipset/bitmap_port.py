"""TCP and UDP ports of a range: type `bitmap:port`.

Kernel: net/netfilter/ipset/ip_set_bitmap_port.c.
"""

from __future__ import annotations

from functools import partial

from netemu.netfilter.ipset.attributes import CreateAttributes, ElementAttributes
from netemu.netfilter.ipset.bitmap import BitmapContent, BitmapKind, Range
from netemu.netfilter.ipset.errcode import Errno, SetError
from netemu.netfilter.ipset.ip_set import AdtOptions, Part, SetType
from netemu.netfilter.ipset.keywords import ADD, ANY
from netemu.netfilter.ipset.packet import Packet
from netemu.wire.ipv4 import Protocol


def _span(said: CreateAttributes) -> Range:
    if said.port is None or said.port_to is None:
        raise SetError(Errno.PROTOCOL)
    first, last = sorted((said.port, said.port_to))
    return Range(first=first, last=last, size=last - first + 1)


def _values(span: Range, said: ElementAttributes, test: bool) -> range:  # noqa: FBT001
    if said.port is None:
        raise SetError(Errno.PROTOCOL)
    if not span.has(said.port):
        raise SetError(Errno.BITMAP_RANGE)
    if test or said.port_to is None:
        return range(said.port, said.port + 1)
    first, last = sorted((said.port, said.port_to))
    if first < span.first or last > span.last:
        raise SetError(Errno.BITMAP_RANGE)
    return range(first, last + 1)


def _value_of(packet: Packet, options: AdtOptions) -> int:
    found = packet.port(src=options.src(1))
    if found is None or found[1] not in {Protocol.TCP, Protocol.UDP}:
        raise SetError(Errno.EINVAL)
    return found[0]


KIND = BitmapKind(
    span=_span,
    values=_values,
    value_of=_value_of,
    attributes=lambda value: ElementAttributes(port=value),
    head=lambda span: CreateAttributes(port=span.first, port_to=span.last),
    range_first=True,
    head_octets=72,
)

TYPE = SetType(
    name="bitmap:port",
    aliases=("portmap",),
    revision=3,
    kernel="ip_set_bitmap_port.c",
    duty="Holds TCP and UDP ports of a range.",
    families=ANY,
    parts=(Part("port", "tcp_udp_port", "port"),),
    create=(
        "port-range",
        "timeout",
        "counters",
        "comment",
        "skbinfo",
        "from-port",
        "to-port",
    ),
    create_need=("port", "port_to"),
    add=ADD,
    need=("port",),
    may=("port_to",),
    features=frozenset({"port"}),
    make=partial(BitmapContent, KIND),
)
