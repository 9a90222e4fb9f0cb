"""An address with a port and a network: type `hash:ip,port,net`.

Kernel: net/netfilter/ipset/ip_set_hash_ipportnet.c.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from netemu.netfilter.ipset.attributes import ElementAttributes
from netemu.netfilter.ipset.bucket import Element
from netemu.netfilter.ipset.element_values import (
    addresses,
    nets,
    packet_port,
    ports,
    prefix_length,
    said_ip,
    said_ip2,
    said_port,
)
from netemu.netfilter.ipset.hash import HashContent, HashKind
from netemu.netfilter.ipset.ip_set import AdtOptions, Part, SetType
from netemu.netfilter.ipset.keywords import (
    ADD_NET,
    BOTH,
    EXTENSIONS,
    FAMILY,
    IGNORED,
    SIZES,
    TEST_NET,
)
from netemu.netfilter.ipset.packet import Packet
from netemu.wire.address import network_of


def _elements(content: HashContent, said: ElementAttributes, test: bool) -> Iterator[Element]:  # noqa: FBT001
    ip, ip2 = said_ip(said), said_ip2(said)
    cidr2 = prefix_length(content, said.cidr2)
    port, proto = said_port(content, said)
    ranged = not test and len(ip) == 4
    for address in addresses(ip, said) if ranged else [ip]:
        for number in ports(port, said, test=test):
            for network, length in nets(ip2, cidr2, said.ip2_to if ranged else None):
                yield Element(ip=address, port=number, proto=proto, ip2=network, cidr2=length)


def _element_of(content: HashContent, packet: Packet, options: AdtOptions, test: bool) -> Element:  # noqa: FBT001
    cidr2 = content.packet_cidr(1, test=test)
    port, proto = packet_port(packet, src=options.src(2))
    return Element(
        ip=packet.address(src=options.src(1)),
        port=port,
        proto=proto,
        ip2=network_of(packet.address(src=options.src(3)), cidr2),
        cidr2=cidr2,
    )


def _pack(element: Element) -> bytes:
    port = element.port.to_bytes(2, "big")
    return element.ip + element.ip2 + port + bytes((element.cidr2 - 1, element.proto))


KIND = HashKind(
    pack=_pack,
    elements=_elements,
    element_of=_element_of,
    attributes=lambda element: ElementAttributes(
        ip=element.ip,
        port=element.port,
        proto=element.proto,
        ip2=element.ip2,
        cidr2=element.cidr2,
    ),
    nets=(1,),
    address_is_host=True,
    struct_octets=(12, 36),
    head_octets=(416, 1208),
)

TYPE = SetType(
    name="hash:ip,port,net",
    aliases=("ipportnethash",),
    revision=8,
    kernel="ip_set_hash_ipportnet.c",
    duty="Holds an address, a port with its protocol, and a network.",
    families=BOTH,
    parts=(
        Part("ip", "ip4_single6", "ip"),
        Part("port", "proto_port", "proto_port"),
        Part("ip2", "ip4_net6", "ip"),
    ),
    create=(*FAMILY, *SIZES, *EXTENSIONS, *IGNORED),
    add=ADD_NET,
    test=TEST_NET,
    need=("ip", "proto", "port", "ip2"),
    may=("ip_to", "port_to", "cidr2", "ip2_to"),
    test_may=("cidr2",),
    features=frozenset({"ip", "port", "ip2", "nomatch"}),
    nomatch=True,
    make=partial(HashContent, KIND),
)
