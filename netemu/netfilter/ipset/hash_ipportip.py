"""An address with a port and another address: type `hash:ip,port,ip`.

Kernel: net/netfilter/ipset/ip_set_hash_ipportip.c.
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
    said_ip2,
    said_port,
)
from netemu.netfilter.ipset.hash import HashContent, HashKind
from netemu.netfilter.ipset.ip_set import AdtOptions, Part, SetType
from netemu.netfilter.ipset.keywords import ADD, BOTH, EXTENSIONS, FAMILY, IGNORED, SIZES
from netemu.netfilter.ipset.packet import Packet


def _elements(content: HashContent, said: ElementAttributes, test: bool) -> Iterator[Element]:  # noqa: FBT001
    ip, ip2 = said_ip(said), said_ip2(said)
    port, proto = said_port(content, said)
    every = [ip] if test or len(ip) > 4 else addresses(ip, said)
    for address in every:
        for number in ports(port, said, test=test):
            yield Element(ip=address, port=number, proto=proto, ip2=ip2)


def _element_of(content: HashContent, packet: Packet, options: AdtOptions, test: bool) -> Element:  # noqa: FBT001
    port, proto = packet_port(packet, src=options.src(2))
    return Element(
        ip=packet.address(src=options.src(1)),
        port=port,
        proto=proto,
        ip2=packet.address(src=options.src(3)),
    )


def _pack(element: Element) -> bytes:
    port = element.port.to_bytes(2, "big")
    return element.ip + element.ip2 + port + bytes((element.proto, 0))


KIND = HashKind(
    pack=_pack,
    elements=_elements,
    element_of=_element_of,
    attributes=lambda element: ElementAttributes(
        ip=element.ip, port=element.port, proto=element.proto, ip2=element.ip2
    ),
    address_is_host=True,
    struct_octets=(12, 36),
    head_octets=(160, 184),
)

TYPE = SetType(
    name="hash:ip,port,ip",
    aliases=("ipportiphash",),
    revision=6,
    kernel="ip_set_hash_ipportip.c",
    duty="Holds an address, a port with its protocol, and another address.",
    families=BOTH,
    parts=(
        Part("ip", "ip4_single6", "ip"),
        Part("port", "proto_port", "proto_port"),
        Part("ip2", "single_ip", "ip"),
    ),
    create=(*FAMILY, *SIZES, *EXTENSIONS, *IGNORED),
    add=ADD,
    need=("ip", "proto", "port", "ip2"),
    may=("ip_to", "port_to"),
    features=frozenset({"ip", "port", "ip2"}),
    make=partial(HashContent, KIND),
)
