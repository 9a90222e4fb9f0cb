"""A network with a device: type `hash:net,iface`.

Kernel: net/netfilter/ipset/ip_set_hash_netiface.c.

Theory of operation: the device is not hashed, so all devices of one network stand in one bucket,
which grows for them. The longest network that has an address decides, with whatever device: when
none of its devices is the packet's, shorter ones are not tried. No rule can ask with the names of
bridge ports, so that elements with `physdev:` match no packet.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from netemu.netfilter.ipset.attributes import ElementAttributes
from netemu.netfilter.ipset.bucket import Element
from netemu.netfilter.ipset.element_values import nets, prefix_length, said_ip
from netemu.netfilter.ipset.errcode import Errno, SetError
from netemu.netfilter.ipset.hash import HashContent, HashKind
from netemu.netfilter.ipset.ip_set import AdtOptions, Part, SetType
from netemu.netfilter.ipset.keywords import BOTH, EXTENSIONS, FAMILY, SIZES, TEST_NET, VALUES
from netemu.netfilter.ipset.packet import Packet
from netemu.wire.address import network_of


def _elements(content: HashContent, said: ElementAttributes, test: bool) -> Iterator[Element]:  # noqa: FBT001
    cidr = prefix_length(content, said.cidr, zero=True)
    for network, length in nets(said_ip(said), cidr, None if test else said.ip_to):
        yield Element(
            ip=network,
            cidr=length,
            physdev=said.physdev,
            iface=said.iface or "",
            wildcard=said.wildcard,
        )


def _element_of(content: HashContent, packet: Packet, options: AdtOptions, test: bool) -> Element:  # noqa: FBT001
    cidr = content.packet_cidr(0, test=test)
    iface = packet.device(src=options.src(2))
    if not iface:
        raise SetError(Errno.EINVAL)
    return Element(
        ip=network_of(packet.address(src=options.src(1)), cidr),
        cidr=cidr,
        iface=iface,
    )


KIND = HashKind(
    pack=lambda element: element.ip + bytes((element.physdev, element.cidr, 0, 1)),
    elements=_elements,
    element_of=_element_of,
    attributes=lambda element: ElementAttributes(
        ip=element.ip,
        cidr=element.cidr,
        iface=element.iface,
        physdev=element.physdev,
        wildcard=element.wildcard,
    ),
    nets=(0,),
    multi=True,
    struct_octets=(28, 40),
    head_octets=(440, 1216),
)

TYPE = SetType(
    name="hash:net,iface",
    aliases=("netifacehash",),
    revision=8,
    kernel="ip_set_hash_netiface.c",
    duty="Holds pairs of a network and a device.",
    families=BOTH,
    parts=(Part("ip", "ip4_net6", "ip"), Part("iface", "iface", "iface")),
    create=(*FAMILY, *SIZES, *EXTENSIONS),
    add=("timeout", "nomatch", "wildcard", *VALUES),
    test=TEST_NET,
    need=("ip", "iface"),
    may=("cidr", "ip_to", "physdev"),
    test_may=("cidr", "physdev"),
    features=frozenset({"ip", "iface", "nomatch"}),
    nomatch=True,
    make=partial(HashContent, KIND),
)
