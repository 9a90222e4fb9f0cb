"""An address with a packet mark: type `hash:ip,mark`.

Kernel: net/netfilter/ipset/ip_set_hash_ipmark.c.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from netemu.netfilter.ipset.attributes import ElementAttributes
from netemu.netfilter.ipset.bucket import Element
from netemu.netfilter.ipset.element_values import addresses, said_ip
from netemu.netfilter.ipset.errcode import Errno, SetError
from netemu.netfilter.ipset.hash import HashContent, HashKind
from netemu.netfilter.ipset.ip_set import AdtOptions, Part, SetType
from netemu.netfilter.ipset.keywords import ADD, BOTH, EXTENSIONS, FAMILY, IGNORED, SIZES
from netemu.netfilter.ipset.packet import Packet


def _elements(content: HashContent, said: ElementAttributes, test: bool) -> Iterator[Element]:  # noqa: FBT001
    if said.mark is None:
        raise SetError(Errno.PROTOCOL)
    ip, mark = said_ip(said), said.mark & content.markmask
    if len(ip) > 4:
        yield Element(ip=ip, mark=mark)
        return
    if not mark and not any(ip):
        raise SetError(Errno.HASH_ELEM)
    if not mark and said.ip_to is not None and not test and not any(said.ip_to):
        raise SetError(Errno.HASH_ELEM)
    for address in [ip] if test else addresses(ip, said):
        yield Element(ip=address, mark=mark)


def _element_of(content: HashContent, packet: Packet, options: AdtOptions, test: bool) -> Element:  # noqa: FBT001
    address = packet.address(src=options.src(1))
    return Element(ip=address, mark=packet.skb.mark & content.markmask)


KIND = HashKind(
    pack=lambda element: element.ip + element.mark.to_bytes(4, "little"),
    elements=_elements,
    element_of=_element_of,
    attributes=lambda element: ElementAttributes(ip=element.ip, mark=element.mark),
    address_is_host=True,
    struct_octets=(8, 20),
    head_octets=(152, 168),
)

TYPE = SetType(
    name="hash:ip,mark",
    aliases=("ipmarkhash",),
    revision=3,
    kernel="ip_set_hash_ipmark.c",
    duty="Holds pairs of an address and a packet mark, the latter under a mask.",
    families=BOTH,
    parts=(Part("ip", "ip4_single6", "ip"), Part("mark", "mark", "mark")),
    create=(*FAMILY, "markmask", *SIZES, *EXTENSIONS, *IGNORED),
    add=ADD,
    need=("ip", "mark"),
    may=("ip_to",),
    test_may=("ip_to",),
    features=frozenset({"ip", "mark"}),
    make=partial(HashContent, KIND),
)
