"""MAC addresses: type `hash:mac`.

Kernel: net/netfilter/ipset/ip_set_hash_mac.c.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from netemu.netfilter.ipset.attributes import ElementAttributes
from netemu.netfilter.ipset.bucket import Element
from netemu.netfilter.ipset.element_values import packet_ether
from netemu.netfilter.ipset.errcode import Errno, SetError
from netemu.netfilter.ipset.hash import HashContent, HashKind
from netemu.netfilter.ipset.ip_set import AdtOptions, Part, SetType
from netemu.netfilter.ipset.keywords import ADD, ANY, EXTENSIONS, SIZES
from netemu.netfilter.ipset.packet import Packet


def _elements(content: HashContent, said: ElementAttributes, test: bool) -> Iterator[Element]:  # noqa: FBT001
    if said.ether is None:
        raise SetError(Errno.PROTOCOL)
    if not any(said.ether):
        raise SetError(Errno.HASH_ELEM)
    yield Element(ether=said.ether)


def _element_of(content: HashContent, packet: Packet, options: AdtOptions, test: bool) -> Element:  # noqa: FBT001
    return Element(ether=packet_ether(packet, src=options.src(1)))


KIND = HashKind(
    pack=lambda element: element.ether + bytes(2),
    elements=_elements,
    element_of=_element_of,
    attributes=lambda element: ElementAttributes(ether=element.ether),
    struct_octets=(8, 8),
    head_octets=(152, 152),
)

TYPE = SetType(
    name="hash:mac",
    aliases=("machash",),
    revision=1,
    kernel="ip_set_hash_mac.c",
    duty="Holds MAC addresses.",
    families=ANY,
    parts=(Part("ether", "ether", "ether"),),
    create=(*SIZES, *EXTENSIONS),
    add=ADD,
    need=("ether",),
    features=frozenset({"mac"}),
    make=partial(HashContent, KIND),
)
