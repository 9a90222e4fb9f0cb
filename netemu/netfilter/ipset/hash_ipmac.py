"""An address with a MAC address: type `hash:ip,mac`.

Kernel: net/netfilter/ipset/ip_set_hash_ipmac.c.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from netemu.netfilter.ipset.attributes import ElementAttributes
from netemu.netfilter.ipset.bucket import Element
from netemu.netfilter.ipset.element_values import packet_ether, said_ip
from netemu.netfilter.ipset.errcode import Errno, SetError
from netemu.netfilter.ipset.hash import HashContent, HashKind
from netemu.netfilter.ipset.ip_set import AdtOptions, Part, SetType
from netemu.netfilter.ipset.keywords import ADD, BOTH, EXTENSIONS, FAMILY, SIZES
from netemu.netfilter.ipset.packet import Packet


def _elements(content: HashContent, said: ElementAttributes, test: bool) -> Iterator[Element]:  # noqa: FBT001
    if said.ether is None:
        raise SetError(Errno.PROTOCOL)
    if not any(said.ether):
        raise SetError(Errno.HASH_ELEM)
    yield Element(ip=said_ip(said), ether=said.ether)


def _element_of(content: HashContent, packet: Packet, options: AdtOptions, test: bool) -> Element:  # noqa: FBT001
    ether = packet_ether(packet, src=options.src(2))
    return Element(ip=packet.address(src=options.src(1)), ether=ether)


KIND = HashKind(
    pack=lambda element: element.ip + element.ether + bytes(2),
    elements=_elements,
    element_of=_element_of,
    attributes=lambda element: ElementAttributes(ip=element.ip, ether=element.ether),
    loses_reason=True,
    struct_octets=(12, 24),
    head_octets=(160, 168),
)

TYPE = SetType(
    name="hash:ip,mac",
    aliases=("ipmachash",),
    revision=1,
    kernel="ip_set_hash_ipmac.c",
    duty="Holds pairs of an address and a MAC address.",
    families=BOTH,
    parts=(Part("ip", "ip4_single6", "ip"), Part("ether", "ether", "ether")),
    create=(*FAMILY, *SIZES, *EXTENSIONS),
    add=ADD,
    need=("ip", "ether"),
    features=frozenset({"ip", "mac"}),
    make=partial(HashContent, KIND),
)
