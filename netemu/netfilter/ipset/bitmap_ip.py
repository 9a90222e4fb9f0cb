"""IPv4 addresses, or networks of one size, of a range: type `bitmap:ip`.

Kernel: net/netfilter/ipset/ip_set_bitmap_ip.c.
"""

from __future__ import annotations

from functools import partial

from netemu.netfilter.hook import Family
from netemu.netfilter.ipset.attributes import CreateAttributes, ElementAttributes
from netemu.netfilter.ipset.bitmap import BitmapContent, BitmapKind, Range
from netemu.netfilter.ipset.errcode import Errno, SetError
from netemu.netfilter.ipset.ip_set import AdtOptions, Part, SetType
from netemu.netfilter.ipset.keywords import ADD
from netemu.netfilter.ipset.packet import Packet
from netemu.netfilter.ipset.prefix import (
    IPV4_BITS,
    IPV4_MAX,
    hostmask4,
    mask_from_to,
    to_number,
    to_packed,
)

RANGE = ("timeout", "counters", "comment", "skbinfo", "from-ip", "to-ip", "network")


def address_range(said: CreateAttributes) -> Range:
    """Return the addresses between two, or those of a network."""
    if said.ip is None:
        raise SetError(Errno.PROTOCOL)
    first = to_number(said.ip)
    if said.ip_to is not None:
        first, last = sorted((first, to_number(said.ip_to)))
    elif said.cidr is not None:
        if said.cidr >= IPV4_BITS:
            raise SetError(Errno.INVALID_CIDR)
        first, last = mask_from_to(first, said.cidr)
    else:
        raise SetError(Errno.PROTOCOL)
    return Range(first=first, last=last, size=last - first + 1)


def _span(said: CreateAttributes) -> Range:
    whole = address_range(said)
    if said.netmask is None or said.netmask == IPV4_BITS:
        return whole
    if said.netmask > IPV4_BITS:
        raise SetError(Errno.INVALID_NETMASK)
    mask = hostmask4(said.netmask)
    first, last = whole.first & mask, whole.last | ~mask & IPV4_MAX
    length = IPV4_BITS - 1
    while length > 0 and (last & hostmask4(length)) != first:
        length -= 1
    if (length == 0 and (first or last != IPV4_MAX)) or said.netmask <= length:
        raise SetError(Errno.BITMAP_RANGE)
    return Range(
        first=first,
        last=last,
        size=1 << (said.netmask - length),
        hosts=1 << (IPV4_BITS - said.netmask),
        netmask=said.netmask,
    )


def _values(span: Range, said: ElementAttributes, test: bool) -> range:  # noqa: FBT001
    if said.ip is None:
        raise SetError(Errno.PROTOCOL)
    first = last = to_number(said.ip)
    if not span.has(first):
        raise SetError(Errno.BITMAP_RANGE)
    if test:
        return range(first, first + 1)
    if said.ip_to is not None:
        first, last = sorted((first, to_number(said.ip_to)))
    elif said.cidr is not None:
        if not said.cidr:
            raise SetError(Errno.INVALID_CIDR)
        first, last = mask_from_to(first, said.cidr)
    if first < span.first or last > span.last:
        raise SetError(Errno.BITMAP_RANGE)
    return range(first, last + 1, span.hosts)


def _value_of(packet: Packet, options: AdtOptions) -> int:
    return to_number(packet.address(src=options.src(1)))


def head_of(span: Range) -> CreateAttributes:
    """Return what a listing says of the range."""
    return CreateAttributes(
        ip=to_packed(span.first),
        ip_to=to_packed(span.last),
        netmask=span.netmask if span.netmask != IPV4_BITS else None,
    )


KIND = BitmapKind(
    span=_span,
    values=_values,
    value_of=_value_of,
    attributes=lambda value: ElementAttributes(ip=to_packed(value)),
    head=head_of,
    head_octets=88,
)

TYPE = SetType(
    name="bitmap:ip",
    aliases=("ipmap",),
    revision=3,
    kernel="ip_set_bitmap_ip.c",
    duty="Holds IPv4 addresses of a range, or networks of one size (netmask).",
    families=(Family.IPV4,),
    parts=(Part("ip", "ip", "ip"),),
    create=("ip-range", "netmask", *RANGE),
    create_need=("ip", "ip_to"),
    add=ADD,
    need=("ip",),
    may=("ip_to",),
    features=frozenset({"ip"}),
    make=partial(BitmapContent, KIND),
)
