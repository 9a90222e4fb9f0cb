"""An address with a port: type `hash:ip,port`.

Kernel: net/netfilter/ipset/ip_set_hash_ipport.c.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from netemu.netfilter.ipset.attributes import ElementAttributes
from netemu.netfilter.ipset.bucket import Element
from netemu.netfilter.ipset.element_values import (
    addresses,
    packet_port,
    ports,
    said_ip,
    said_port,
)
from netemu.netfilter.ipset.errcode import Errno, SetError
from netemu.netfilter.ipset.hash import HashContent, HashKind
from netemu.netfilter.ipset.ip_set import AdtOptions, Part, SetType
from netemu.netfilter.ipset.keywords import ADD, BOTH, EXTENSIONS, FAMILY, IGNORED, SIZES
from netemu.netfilter.ipset.packet import Packet
from netemu.netfilter.ipset.prefix import apply_mask


def _elements(content: HashContent, said: ElementAttributes, test: bool) -> Iterator[Element]:  # noqa: FBT001
    ip = apply_mask(said_ip(said), content.bitmask)
    if not any(ip):
        raise SetError(Errno.EINVAL)
    port, proto = said_port(content, said)
    every = [ip] if test or len(ip) > 4 else addresses(ip, said)
    for address in every:
        for number in ports(port, said, test=test):
            yield Element(ip=address, port=number, proto=proto)


def _element_of(content: HashContent, packet: Packet, options: AdtOptions, test: bool) -> Element:  # noqa: FBT001
    port, proto = packet_port(packet, src=options.src(2))
    ip = apply_mask(packet.address(src=options.src(1)), content.bitmask)
    if not any(ip):
        raise SetError(Errno.EINVAL)
    return Element(ip=ip, port=port, proto=proto)


KIND = HashKind(
    pack=lambda element: element.ip + element.port.to_bytes(2, "big") + bytes((element.proto, 0)),
    elements=_elements,
    element_of=_element_of,
    attributes=lambda element: ElementAttributes(
        ip=element.ip, port=element.port, proto=element.proto
    ),
    address_is_host=True,
    struct_octets=(8, 20),
    head_octets=(168, 184),
)

TYPE = SetType(
    name="hash:ip,port",
    aliases=("ipporthash",),
    revision=7,
    kernel="ip_set_hash_ipport.c",
    duty="Holds pairs of an address and a port with its protocol.",
    families=BOTH,
    parts=(Part("ip", "ip4_single6", "ip"), Part("port", "proto_port", "proto_port")),
    create=(*FAMILY, *SIZES, *EXTENSIONS, "netmask", "bitmask", *IGNORED),
    add=ADD,
    need=("ip", "proto", "port"),
    may=("ip_to", "port_to"),
    features=frozenset({"ip", "port"}),
    make=partial(HashContent, KIND),
)
