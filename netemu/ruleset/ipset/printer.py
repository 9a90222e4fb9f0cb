"""Sets as `ipset save` and `ipset list` print them.

Kernel: none; list_create and list_adt of ipset's lib/session.c, its lib/print.c.

Elements of hash types stand in the order of the kernel's hash table, which follows from the set's
initval (see `netfilter/ipset/hash.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from netemu.netfilter.hook import Family
from netemu.netfilter.ipset.attributes import CreateAttributes, ElementAttributes
from netemu.netfilter.ipset.core import IpSets
from netemu.netfilter.ipset.ip_set import IpSet, Part
from netemu.netfilter.xtables.names import protocol_name
from netemu.ruleset.ipset.icmp_names import icmp_name
from netemu.ruleset.ipset.keywords import KEYWORDS
from netemu.wire.address import format_address
from netemu.wire.ipv4 import Protocol


def print_sets(sets: IpSets) -> str:
    """Return what `ipset save` prints."""
    return "".join(f"{line}\n" for one in sets.all() for line in _saved(one))


def _saved(one: IpSet) -> Iterator[str]:
    header = _header(one)
    yield f"create {one.name} {one.type.name}{header}"
    for said in one.content.list():
        yield f"add {one.name} {element_text(one, said)}{_options(one, said)}"


def print_listing(sets: IpSets) -> str:
    """Return what `ipset list` prints."""
    return "\n".join(_listed(one) for one in sets.all())


def _listed(one: IpSet) -> str:
    lines = [
        f"Name: {one.name}",
        f"Type: {one.type.name}",
        f"Revision: {one.type.revision}",
        f"Header:{_header(one)}",
        f"Size in memory: {one.content.memsize}",
        f"References: {one.references}",
        f"Number of entries: {one.content.elements}",
        "Members:",
    ]
    lines += [element_text(one, said) + _options(one, said) for said in one.content.list()]
    return "".join(f"{line}\n" for line in lines)


def _header(one: IpSet) -> str:
    """Return the options of `create`, each behind a blank."""
    said = one.head()
    parts = []
    for word in one.type.create:
        keyword = KEYWORDS[word]
        if keyword.show is None:
            continue
        if word == "family":
            value: object = one.family
        elif word in {"ip-range", "port-range"}:
            value = _range(said)
        else:
            value = getattr(said, keyword.option)
        if value is None or value is False:
            continue
        parts.append(f" {keyword.name} {keyword.show(value)}" if value is not True else f" {word}")
    return "".join(parts)


def _range(said: CreateAttributes) -> str:
    if said.port is not None:
        return f"{said.port}-{said.port_to}"
    assert said.ip is not None
    assert said.ip_to is not None
    return f"{format_address(said.ip)}-{format_address(said.ip_to)}"


def _options(one: IpSet, said: ElementAttributes) -> str:
    """Return the options of `add`, each behind a blank."""
    parts = []
    for word in one.type.add:
        keyword = KEYWORDS[word]
        if keyword.show is None:
            continue
        value = getattr(said, keyword.option)
        if value is None or value is False:
            continue
        parts.append(
            f" {keyword.name} {keyword.show(value)}" if value is not True else f" {keyword.name}"
        )
    return "".join(parts)


def element_text(one: IpSet, said: ElementAttributes) -> str:
    """Return an element without its options."""
    parts = [
        _PRINTERS[part.printer](part, said, one.family)
        for part in one.type.parts
        if getattr(said, part.option) is not None
    ]
    return ",".join(parts)


_Printer = Callable[[Part, ElementAttributes, Family | None], str]


def _ip(part: Part, said: ElementAttributes, family: Family | None) -> str:
    address = getattr(said, part.option)
    cidr = said.cidr2 if part.option == "ip2" else said.cidr
    text = format_address(address)
    return text if cidr in {None, len(address) * 8} else f"{text}/{cidr}"


def _proto_port(part: Part, said: ElementAttributes, family: Family | None) -> str:
    assert said.proto is not None
    assert said.port is not None
    port = str(said.port)
    if said.proto == Protocol.ICMP:
        port = icmp_name(said.port, Family.IPV4)
    elif said.proto == Protocol.ICMPV6:
        port = icmp_name(said.port, Family.IPV6)
    return f"{protocol_name(said.proto)}:{port}"


def _ether(part: Part, said: ElementAttributes, family: Family | None) -> str:
    assert said.ether is not None
    return said.ether.hex(":").upper()


def _iface(part: Part, said: ElementAttributes, family: Family | None) -> str:
    return f"physdev:{said.iface}" if said.physdev else str(said.iface)


def _mark(part: Part, said: ElementAttributes, family: Family | None) -> str:
    return f"0x{said.mark:08x}"


def _plain(part: Part, said: ElementAttributes, family: Family | None) -> str:
    return str(getattr(said, part.option))


_PRINTERS: dict[str, _Printer] = {
    "ip": _ip,
    "proto_port": _proto_port,
    "port": _plain,
    "ether": _ether,
    "iface": _iface,
    "mark": _mark,
    "name": _plain,
}
"""What a `Part.printer` stands for."""
