"""Which packets a loaded IP set has, as a set of packets for the analysis.

Kernel: net/netfilter/ipset/ip_set_hash_gen.h (mtype_test, mtype_test_cidrs), ip_set_bitmap_gen.h
(mtype_test), ip_set_list_set.c (list_set_ktest), ip_set_getport.c (get_port).

Of networks the longest decides, of pairs the one whose first is longest: so shorter ones are laid
down first, and longer ones over them, as exceptions where they are nomatch elements.
"""

from __future__ import annotations

from collections.abc import Iterable

from netemu.netfilter.ipset.attributes import ElementAttributes
from netemu.netfilter.ipset.bitmap import BitmapContent
from netemu.netfilter.ipset.core import fits
from netemu.netfilter.ipset.hash import HashContent
from netemu.netfilter.ipset.ip_set import AdtOptions, IpSet
from netemu.netfilter.ipset.list_set import ListContent
from netemu.netfilter.ipset.packet import WITH_PORTS
from netemu.netfilter.xtables.space import Field, PacketSpace
from netemu.wire.ipv4 import Protocol

_ICMP = frozenset({Protocol.ICMP, Protocol.ICMPV6})


class NotToldError(Exception):
    """What the packet does not tell, or what changes as time goes by."""


def packets_in(asked: IpSet, options: AdtOptions, space: PacketSpace) -> int:
    """Return the packets that a test finds in a set; raise NotToldError where that is not known."""
    if asked.name in space.changing_sets or asked.timeout_s is not None:
        raise NotToldError
    if not fits(asked, options):
        return space.either()
    content = asked.content
    if isinstance(content, ListContent):
        return space.either(
            *(packets_in(member, options, space) for member in content.members()),
        )
    if isinstance(content, HashContent) and content.kind.multi:
        raise NotToldError
    exceptions = options.return_nomatch and asked.type.nomatch
    found = space.either()
    for group in _by_length(asked, content.list()):
        hits, misses = (
            space.either(
                *(
                    _element(asked, one, options, space)
                    for one in group
                    if (one.nomatch == exceptions) == hit
                )
            )
            for hit in (True, False)
        )
        found = space.either(space.both(found, space.outside(misses)), hits)
    return found


def _by_length(
    asked: IpSet, elements: Iterable[ElementAttributes]
) -> list[list[ElementAttributes]]:
    """Group elements that no packet can be in together, the shortest networks first."""
    groups: dict[tuple[int, int], list[ElementAttributes]] = {}
    for one in elements:
        lengths = (one.cidr or 0, one.cidr2 or 0) if asked.type.nomatch else (0, 0)
        groups.setdefault(lengths, []).append(one)
    return [groups[lengths] for lengths in sorted(groups)]


def _element(asked: IpSet, one: ElementAttributes, options: AdtOptions, space: PacketSpace) -> int:
    """Return the packets that one element has."""
    found = []
    for dimension, part in enumerate(asked.type.parts, 1):
        src = options.src(dimension)
        if part.option == "ip":
            found.append(_address(asked, one.ip, one.cidr, space, src=src))
        elif part.option == "ip2":
            found.append(_address(asked, one.ip2, one.cidr2, space, src=src))
        elif part.option == "port":
            found.append(_port(one, space, src=src))
        elif part.option == "mark" and isinstance(asked.content, HashContent):
            found.append(space.masked(Field.MARK, one.mark or 0, asked.content.markmask))
        else:
            raise NotToldError
    return space.both(*found)


def _address(
    asked: IpSet, address: bytes | None, length: int | None, space: PacketSpace, *, src: bool
) -> int:
    """Return the packets with an address of a network, or an address under the set's mask."""
    assert address is not None
    bits = len(address) * 8
    mask = (1 << bits) - 1
    content = asked.content
    if isinstance(content, BitmapContent):
        mask = mask << (bits - content.span.netmask) & mask
    elif isinstance(content, HashContent):
        mask = int.from_bytes(content.bitmask, "big")
    if length is None and not any(address):
        # Types differ in whether they look such an address up.
        raise NotToldError
    if length is not None:
        mask &= ((1 << length) - 1) << (bits - length)
    field = Field.SOURCE if src else Field.DESTINATION
    return space.masked(field, int.from_bytes(address, "big") & mask, mask)


def _port(one: ElementAttributes, space: PacketSpace, *, src: bool) -> int:
    """Return the packets with a port, of ICMP with type and code, of other protocols all."""
    port = one.port or 0
    protocols = (Protocol.TCP, Protocol.UDP) if one.proto is None else (one.proto,)
    found = []
    for protocol in protocols:
        packets = [space.masked(Field.PROTOCOL, protocol)]
        if protocol in WITH_PORTS or protocol in _ICMP:
            source = src and protocol in WITH_PORTS
            field = Field.SOURCE_PORT if source else Field.DESTINATION_PORT
            packets += [space.masked(field, port), space.masked(Field.FRAGMENT, 0)]
        elif port or not protocol:
            continue
        found.append(space.both(*packets))
    return space.either(*found)
