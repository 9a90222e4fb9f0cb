"""Pairs of networks: type `hash:net,net`.

Kernel: net/netfilter/ipset/ip_set_hash_netnet.c.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from netemu.netfilter.ipset.attributes import ElementAttributes
from netemu.netfilter.ipset.bucket import Element
from netemu.netfilter.ipset.element_values import nets, prefix_length, said_ip, said_ip2
from netemu.netfilter.ipset.errcode import Errno, SetError
from netemu.netfilter.ipset.hash import HashContent, HashKind
from netemu.netfilter.ipset.ip_set import AdtOptions, Part, SetType
from netemu.netfilter.ipset.keywords import ADD_NET, BOTH, EXTENSIONS, FAMILY, SIZES, TEST_NET
from netemu.netfilter.ipset.packet import Packet
from netemu.netfilter.ipset.prefix import apply_mask
from netemu.wire.address import network_of


def _elements(content: HashContent, said: ElementAttributes, test: bool) -> Iterator[Element]:  # noqa: FBT001
    ip, ip2 = said_ip(said), said_ip2(said)
    cidr, cidr2 = prefix_length(content, said.cidr), prefix_length(content, said.cidr2)
    if test or (said.ip_to is None and said.ip2_to is None):
        # Only single networks go through the set's netmask or bitmask.
        ip = apply_mask(network_of(ip, cidr), content.bitmask)
        ip2 = apply_mask(network_of(ip2, cidr2), content.bitmask)
        if len(ip) > 4 and cidr == content.host_mask and not any(ip):
            raise SetError(Errno.HASH_ELEM)
        yield Element(ip=ip, cidr=cidr, ip2=ip2, cidr2=cidr2)
        return
    for network, length in nets(ip, cidr, said.ip_to):
        for network2, length2 in nets(ip2, cidr2, said.ip2_to):
            yield Element(ip=network, cidr=length, ip2=network2, cidr2=length2)


def _element_of(content: HashContent, packet: Packet, options: AdtOptions, test: bool) -> Element:  # noqa: FBT001
    cidr, cidr2 = content.packet_cidr(0, test=test), content.packet_cidr(1, test=test)
    ip = apply_mask(network_of(packet.address(src=options.src(1)), cidr), content.bitmask)
    ip2 = apply_mask(network_of(packet.address(src=options.src(2)), cidr2), content.bitmask)
    if len(ip) > 4 and cidr == content.host_mask and not any(ip):
        raise SetError(Errno.EINVAL)
    return Element(ip=ip, cidr=cidr, ip2=ip2, cidr2=cidr2)


def _pack(element: Element) -> bytes:
    """Return the struct; that of IPv4 is filled up to a multiple of 8 octets."""
    octets = element.ip + element.ip2 + bytes((0, 0, element.cidr, element.cidr2))
    return octets if len(element.ip) > 4 else octets + bytes(4)


KIND = HashKind(
    pack=_pack,
    elements=_elements,
    element_of=_element_of,
    attributes=lambda element: ElementAttributes(
        ip=element.ip, cidr=element.cidr, ip2=element.ip2, cidr2=element.cidr2
    ),
    nets=(0, 1),
    struct_octets=(16, 36),
    head_octets=(560, 1736),
)

TYPE = SetType(
    name="hash:net,net",
    aliases=("netnethash",),
    revision=4,
    kernel="ip_set_hash_netnet.c",
    duty="Holds pairs of networks.",
    families=BOTH,
    parts=(Part("ip", "ip4_net6", "ip"), Part("ip2", "ip4_net6", "ip")),
    create=(*FAMILY, *SIZES, *EXTENSIONS, "bitmask", "netmask"),
    add=ADD_NET,
    test=TEST_NET,
    need=("ip", "ip2"),
    may=("cidr", "ip_to", "cidr2", "ip2_to"),
    test_may=("cidr", "cidr2"),
    features=frozenset({"ip", "ip2", "nomatch"}),
    nomatch=True,
    make=partial(HashContent, KIND),
)
