"""Two networks with a port: type `hash:net,port,net`.

Kernel: net/netfilter/ipset/ip_set_hash_netportnet.c.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from netemu.netfilter.ipset.attributes import ElementAttributes
from netemu.netfilter.ipset.bucket import Element
from netemu.netfilter.ipset.element_values import (
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
from netemu.netfilter.ipset.keywords import ADD_NET, BOTH, EXTENSIONS, FAMILY, SIZES, TEST_NET
from netemu.netfilter.ipset.packet import Packet
from netemu.wire.address import network_of


def _elements(content: HashContent, said: ElementAttributes, test: bool) -> Iterator[Element]:  # noqa: FBT001
    ip, ip2 = said_ip(said), said_ip2(said)
    cidr = prefix_length(content, said.cidr, zero=True)
    cidr2 = prefix_length(content, said.cidr2, zero=True)
    port, proto = said_port(content, said)
    to, to2 = (None, None) if test else (said.ip_to, said.ip2_to)
    for network, length in nets(ip, cidr, to):
        for number in ports(port, said, test=test):
            for network2, length2 in nets(ip2, cidr2, to2):
                yield Element(
                    ip=network, cidr=length, port=number, proto=proto, ip2=network2, cidr2=length2
                )


def _element_of(content: HashContent, packet: Packet, options: AdtOptions, test: bool) -> Element:  # noqa: FBT001
    cidr, cidr2 = content.packet_cidr(0, test=test), content.packet_cidr(1, test=test)
    port, proto = packet_port(packet, src=options.src(2))
    return Element(
        ip=network_of(packet.address(src=options.src(1)), cidr),
        cidr=cidr,
        port=port,
        proto=proto,
        ip2=network_of(packet.address(src=options.src(3)), cidr2),
        cidr2=cidr2,
    )


def _pack(element: Element) -> bytes:
    port = element.port.to_bytes(2, "big")
    lengths = bytes((element.cidr, element.cidr2))
    return element.ip + element.ip2 + port + lengths + bytes((0, 0, 0, element.proto))


KIND = HashKind(
    pack=_pack,
    elements=_elements,
    element_of=_element_of,
    attributes=lambda element: ElementAttributes(
        ip=element.ip,
        cidr=element.cidr,
        port=element.port,
        proto=element.proto,
        ip2=element.ip2,
        cidr2=element.cidr2,
    ),
    nets=(0, 1),
    struct_octets=(16, 40),
    head_octets=(560, 1736),
)

TYPE = SetType(
    name="hash:net,port,net",
    aliases=("netportnethash",),
    revision=3,
    kernel="ip_set_hash_netportnet.c",
    duty="Holds a network, a port with its protocol, and another network.",
    families=BOTH,
    parts=(
        Part("ip", "ip4_net6", "ip"),
        Part("port", "proto_port", "proto_port"),
        Part("ip2", "ip4_net6", "ip"),
    ),
    create=(*FAMILY, *SIZES, *EXTENSIONS),
    add=ADD_NET,
    test=TEST_NET,
    need=("ip", "proto", "port", "ip2"),
    may=("port_to", "cidr", "ip_to", "cidr2", "ip2_to"),
    test_may=("cidr", "cidr2"),
    features=frozenset({"ip", "port", "ip2", "nomatch"}),
    nomatch=True,
    make=partial(HashContent, KIND),
)
