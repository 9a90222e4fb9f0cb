"""A network with a port: type `hash:net,port`.

Kernel: net/netfilter/ipset/ip_set_hash_netport.c.
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
    said_port,
)
from netemu.netfilter.ipset.hash import HashContent, HashKind
from netemu.netfilter.ipset.ip_set import AdtOptions, Part, SetType
from netemu.netfilter.ipset.keywords import ADD_NET, BOTH, EXTENSIONS, FAMILY, SIZES, TEST_NET
from netemu.netfilter.ipset.packet import Packet
from netemu.wire.address import network_of


def _elements(content: HashContent, said: ElementAttributes, test: bool) -> Iterator[Element]:  # noqa: FBT001
    ip, cidr = said_ip(said), prefix_length(content, said.cidr)
    port, proto = said_port(content, said)
    for network, length in nets(ip, cidr, None if test else said.ip_to):
        for number in ports(port, said, test=test):
            yield Element(ip=network, cidr=length, port=number, proto=proto)


def _element_of(content: HashContent, packet: Packet, options: AdtOptions, test: bool) -> Element:  # noqa: FBT001
    cidr = content.packet_cidr(0, test=test)
    port, proto = packet_port(packet, src=options.src(2))
    network = network_of(packet.address(src=options.src(1)), cidr)
    return Element(ip=network, cidr=cidr, port=port, proto=proto)


def _pack(element: Element) -> bytes:
    port = element.port.to_bytes(2, "big")
    return element.ip + port + bytes((element.proto, element.cidr - 1))


KIND = HashKind(
    pack=_pack,
    elements=_elements,
    element_of=_element_of,
    attributes=lambda element: ElementAttributes(
        ip=element.ip, cidr=element.cidr, port=element.port, proto=element.proto
    ),
    nets=(0,),
    struct_octets=(8, 20),
    head_octets=(408, 1192),
)

TYPE = SetType(
    name="hash:net,port",
    aliases=("netporthash",),
    revision=8,
    kernel="ip_set_hash_netport.c",
    duty="Holds pairs of a network and a port with its protocol.",
    families=BOTH,
    parts=(Part("ip", "ip4_net6", "ip"), Part("port", "proto_port", "proto_port")),
    create=(*FAMILY, *SIZES, *EXTENSIONS),
    add=ADD_NET,
    test=TEST_NET,
    need=("ip", "proto", "port"),
    may=("port_to", "cidr", "ip_to"),
    test_may=("cidr",),
    features=frozenset({"ip", "port", "nomatch"}),
    nomatch=True,
    make=partial(HashContent, KIND),
)
