"""Networks of any size: type `hash:net`.

Kernel: net/netfilter/ipset/ip_set_hash_net.c.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from netemu.netfilter.ipset.attributes import ElementAttributes
from netemu.netfilter.ipset.bucket import Element
from netemu.netfilter.ipset.element_values import nets, prefix_length, said_ip
from netemu.netfilter.ipset.hash import HashContent, HashKind
from netemu.netfilter.ipset.ip_set import AdtOptions, Part, SetType
from netemu.netfilter.ipset.keywords import ADD_NET, BOTH, EXTENSIONS, FAMILY, SIZES, TEST_NET
from netemu.netfilter.ipset.packet import Packet
from netemu.wire.address import network_of


def _elements(content: HashContent, said: ElementAttributes, test: bool) -> Iterator[Element]:  # noqa: FBT001
    cidr = prefix_length(content, said.cidr)
    for network, length in nets(said_ip(said), cidr, None if test else said.ip_to):
        yield Element(ip=network, cidr=length)


def _element_of(content: HashContent, packet: Packet, options: AdtOptions, test: bool) -> Element:  # noqa: FBT001
    cidr = content.packet_cidr(0, test=test)
    return Element(ip=network_of(packet.address(src=options.src(1)), cidr), cidr=cidr)


KIND = HashKind(
    pack=lambda element: element.ip + bytes((0, 0, 0, element.cidr)),
    elements=_elements,
    element_of=_element_of,
    attributes=lambda element: ElementAttributes(ip=element.ip, cidr=element.cidr),
    nets=(0,),
    struct_octets=(8, 20),
    head_octets=(408, 1192),
)

TYPE = SetType(
    name="hash:net",
    aliases=("nethash",),
    revision=7,
    kernel="ip_set_hash_net.c",
    duty="Holds networks; the longest one that has an address decides.",
    families=BOTH,
    parts=(Part("ip", "ip4_net6", "ip"),),
    create=(*FAMILY, *SIZES, *EXTENSIONS, "probes", "resize"),
    add=ADD_NET,
    test=TEST_NET,
    need=("ip",),
    may=("cidr", "ip_to"),
    test_may=("cidr",),
    features=frozenset({"ip", "nomatch"}),
    nomatch=True,
    make=partial(HashContent, KIND),
)
