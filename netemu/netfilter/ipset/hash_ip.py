"""Addresses, or networks of one size: type `hash:ip`.

Kernel: net/netfilter/ipset/ip_set_hash_ip.c.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from netemu.netfilter.ipset.attributes import ElementAttributes
from netemu.netfilter.ipset.bucket import Element
from netemu.netfilter.ipset.element_values import said_ip
from netemu.netfilter.ipset.errcode import Errno, SetError
from netemu.netfilter.ipset.hash import HashContent, HashKind
from netemu.netfilter.ipset.ip_set import AdtOptions, Part, SetType
from netemu.netfilter.ipset.keywords import ADD, BOTH, EXTENSIONS, FAMILY, SIZES
from netemu.netfilter.ipset.packet import Packet
from netemu.netfilter.ipset.prefix import (
    IPV4_BITS,
    IPV4_MAX,
    apply_mask,
    mask_from_to,
    to_number,
    to_packed,
)


def _elements(content: HashContent, said: ElementAttributes, test: bool) -> Iterator[Element]:  # noqa: FBT001
    ip = apply_mask(said_ip(said), content.bitmask)
    if not any(ip):
        raise SetError(Errno.HASH_ELEM)
    if test or len(ip) > 4:
        yield Element(ip=ip)
        return
    first = last = to_number(ip)
    if said.ip_to is not None:
        last = to_number(said.ip_to)
        if first > last:
            if last == 0:
                raise SetError(Errno.HASH_ELEM)
            first, last = last, first
    elif said.cidr is not None:
        if not said.cidr:
            raise SetError(Errno.INVALID_CIDR)
        first, last = mask_from_to(first, said.cidr)
    for number in range(first, min(last, IPV4_MAX) + 1, 1 << (IPV4_BITS - content.netmask)):
        yield Element(ip=to_packed(number))


def _element_of(content: HashContent, packet: Packet, options: AdtOptions, test: bool) -> Element:  # noqa: FBT001
    ip = apply_mask(packet.address(src=options.src(1)), content.bitmask)
    if not any(ip):
        raise SetError(Errno.EINVAL)
    return Element(ip=ip)


KIND = HashKind(
    pack=lambda element: element.ip,
    elements=_elements,
    element_of=_element_of,
    attributes=lambda element: ElementAttributes(ip=element.ip),
    address_is_host=True,
    struct_octets=(4, 16),
    head_octets=(168, 176),
)

TYPE = SetType(
    name="hash:ip",
    aliases=("iphash",),
    revision=6,
    kernel="ip_set_hash_ip.c",
    duty="Holds addresses, or networks of one size (netmask).",
    families=BOTH,
    parts=(Part("ip", "ip4_single6", "ip"),),
    create=(
        *FAMILY,
        *SIZES,
        "netmask",
        "bitmask",
        *EXTENSIONS,
        "probes",
        "resize",
        "gc",
    ),
    add=ADD,
    need=("ip",),
    may=("ip_to",),
    test_may=("ip_to",),
    features=frozenset({"ip"}),
    make=partial(HashContent, KIND),
)
