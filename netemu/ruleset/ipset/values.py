"""Values of ipset's options and elements: one function per parser of its lib/parse.c."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress

from netemu.netfilter.hook import Family
from netemu.netfilter.ipset import find_set_type
from netemu.netfilter.ipset.ip_set import SetType
from netemu.netfilter.ipset.packet import WITH_PORTS
from netemu.netfilter.xtables.names import getprotobyname, protocol_name, service_port
from netemu.ruleset.ipset.draft import Draft, TextProblem
from netemu.ruleset.ipset.icmp_names import icmp_by_name
from netemu.ruleset.ipset.numbers import (
    has_range,
    read_address,
    read_number,
    separated,
    split_range,
    without_brackets,
)
from netemu.wire.ipv4 import Protocol

Parser = Callable[[Draft, str, str], None]
"""Reads a text and notes it under an option."""

MAX_NAME = 31
MAX_IFNAME = 15
MAX_COMMENT = 255
MAX_TIMEOUT = 2147483
U8, U16, U32, U64 = (1 << 8) - 1, (1 << 16) - 1, (1 << 32) - 1, (1 << 64) - 1
CIDR_OF = {"ip": "cidr", "ip2": "cidr2"}
TO_OF = {"ip": "ip_to", "ip2": "ip2_to"}


def syntax(message: str) -> TextProblem:
    """Return a problem in the words that ipset begins most with."""
    return TextProblem(f"Syntax error: {message}")


# addresses


def _ipaddr(draft: Draft, option: str, text: str) -> None:
    """Read ADDRESS, ADDRESS/CIDR or FROM-TO (parse_ipaddr)."""
    family, bits = draft.address_family, draft.address_bits
    net = separated(text, "/")
    if net is not None:
        length = read_number(net[1], 0, U8)
        if length > bits:
            raise syntax(f"'{net[1]}' is out of range 0-{bits}")
        draft.set(CIDR_OF.get(option, "cidr2"), length)
        draft.set(option, read_address(without_brackets(net[0]), family))
        return
    ends = split_range(text)
    if ends is None:
        draft.set(option, read_address(without_brackets(text), family))
        return
    draft.set(option, read_address(without_brackets(ends[0]), family))
    draft.set(TO_OF.get(option, "ip2_to"), read_address(without_brackets(ends[1]), family))


def parse_ip(draft: Draft, option: str, text: str) -> None:
    """Read any form."""
    _ipaddr(draft, option, text)


def parse_single_ip(draft: Draft, option: str, text: str) -> None:
    """Read one address; the prefix length of a host may stand behind it."""
    net = separated(text, "/")
    if has_range(text) or (net is not None and f"/{net[1]}" != f"/{draft.address_bits}"):
        raise syntax(f"plain IP address must be supplied: {text}")
    _ipaddr(draft, option, text)


def parse_net(draft: Draft, option: str, text: str) -> None:
    """Read ADDRESS/CIDR."""
    if separated(text, "/") is None or has_range(text):
        raise syntax(f"IP/netblock must be supplied: {text}")
    _ipaddr(draft, option, text)


def parse_netrange(draft: Draft, option: str, text: str) -> None:
    """Read ADDRESS/CIDR or FROM-TO."""
    if separated(text, "/") is None and not has_range(text):
        raise syntax(f"IP/cidr or IP-IP range must be specified: {text}")
    _ipaddr(draft, option, text)


def _ipnet(draft: Draft, option: str, text: str) -> None:
    if has_range(text):
        raise syntax(f"IP address or IP/cidr must be specified: {text}")
    _ipaddr(draft, option, text)


def parse_ip4_single6(draft: Draft, option: str, text: str) -> None:
    """Read any form of IPv4, of IPv6 one address."""
    parse = parse_single_ip if draft.address_family == Family.IPV6 else parse_ip
    parse(draft, option, text)


def parse_ip4_net6(draft: Draft, option: str, text: str) -> None:
    """Read any form of IPv4, of IPv6 an address or network."""
    parse = _ipnet if draft.address_family == Family.IPV6 else parse_ip
    parse(draft, option, text)


def parse_netmask(draft: Draft, option: str, text: str) -> None:
    """Read a prefix length."""
    _exclusive(draft, "bitmask")
    draft.family = draft.address_family
    bits = draft.address_bits
    try:
        length = read_number(text, 0, U8)
    except TextProblem:
        length = 0
    if not 1 <= length <= bits:
        raise syntax(f"netmask is out of the inclusive range of 1-{bits}")
    draft.set(option, length)


def parse_bitmask(draft: Draft, option: str, text: str) -> None:
    """Read a mask written as an address."""
    _exclusive(draft, "netmask")
    draft.family = draft.address_family
    try:
        draft.set(option, read_address(text, draft.address_family))
    except TextProblem:
        name = "inet6" if draft.address_family == Family.IPV6 else "inet"
        raise syntax(f"bitmask is not valid for family = {name}") from None


def _exclusive(draft: Draft, other: str) -> None:
    if other in draft:
        raise syntax("bitmask and netmask are mutually exclusive, provide only one")


def parse_family(draft: Draft, option: str, text: str) -> None:
    """Read inet or inet6."""
    if text in {"inet", "ipv4", "-4"}:
        draft.family = Family.IPV4
    elif text in {"inet6", "ipv6", "-6"}:
        draft.family = Family.IPV6
    elif text in {"any", "unspec"}:
        draft.family = None
    else:
        raise syntax(f"unknown inet family {text}")
    draft.family_assumed = False


# ports


def _port(text: str, protocol: str) -> int:
    """Read a port's number or name."""
    with suppress(TextProblem):
        return read_number(text, 0, U16)
    name = protocol
    with suppress(TextProblem):
        name = protocol_name(read_number(protocol, 0, U8))
    port = service_port(without_brackets(text), name)
    if port is None:
        raise TextProblem(f"cannot parse '{text}' as a {protocol} port")
    return port


def _ports(draft: Draft, option: str, text: str, protocol: str) -> None:
    """Read PORT or FROM-TO."""
    ends = split_range(text)
    if ends is not None:
        draft.set("port_to", _port(ends[1], protocol))
        text = ends[0]
    draft.set(option, _port(text, protocol))


def parse_single_tcp_port(draft: Draft, option: str, text: str) -> None:
    """Read one port."""
    draft.set(option, _port(text, "tcp"))


def _protocol(text: str) -> int:
    with suppress(TextProblem):
        return read_number(text, 0, U8)
    number = getprotobyname("ipv6-icmp" if text.lower() == "icmpv6" else text)
    if number is None:
        raise syntax(f"cannot parse '{text}' as a protocol")
    if not number:
        raise syntax(f"Unsupported protocol '{text}'")
    return number


def parse_proto_port(draft: Draft, option: str, text: str) -> None:
    """Read [PROTOCOL:]PORT, TCP if none is named; of ICMP type and code."""
    parts = separated(text, ":")
    if parts is None:
        draft.set("proto", int(Protocol.TCP))
        _ports(draft, option, text, "tcp")
        return
    name, rest = parts
    number = _protocol(name)
    draft.set("proto", number)
    if number in WITH_PORTS:
        _ports(draft, option, rest, name)
    elif number in _ICMP_FAMILY:
        family, label, word = _ICMP_FAMILY[number]
        if draft.address_family != family:
            raise syntax(f"Protocol {label} can be used with family {word} only")
        draft.set(option, _type_and_code(rest, family, label))
    elif rest != "0":
        raise syntax(f"Protocol {name} can be used with pseudo port value 0 only.")
    else:
        draft.set(option, 0)


_ICMP_FAMILY = {
    int(Protocol.ICMP): (Family.IPV4, "ICMP", "inet"),
    int(Protocol.ICMPV6): (Family.IPV6, "ICMPv6", "inet6"),
}


def _type_and_code(text: str, family: Family, label: str) -> int:
    named = icmp_by_name(text, family)
    if named is not None:
        return named
    parts = separated(text, "/")
    if parts is None:
        raise TextProblem(f"Cannot parse {text} as an {label} type/code.")
    return read_number(parts[0], 0, U8) << 8 | read_number(parts[1], 0, U8)


def parse_tcp_udp_port(draft: Draft, option: str, text: str) -> None:
    """Read [tcp|udp:]PORT or a range; the protocol is forgotten."""
    parse_proto_port(draft, option, text)
    if draft.values.pop("proto") not in {Protocol.TCP, Protocol.UDP}:
        raise syntax("Only protocols TCP and UDP are valid")


# the rest


_HEX = re.compile(r"[ \t\n\v\f\r]*[+]?(?:0[xX])?([0-9a-fA-F]*)\Z")
LONGEST_ETHER = 17


def parse_ether(draft: Draft, option: str, text: str) -> None:
    """Read six hexadecimal numbers."""
    parts = text.split(":")
    found = [_HEX.match(part) for part in parts]
    numbers = [int(one[1] or "0", 16) if one is not None else -1 for one in found]
    if len(text) > LONGEST_ETHER or len(parts) != 6 or not all(0 <= n <= U8 for n in numbers):
        raise syntax(f"cannot parse '{text}' as ethernet address")
    draft.set(option, bytes(numbers))


def parse_iface(draft: Draft, option: str, text: str) -> None:
    """Read a device's name, or behind `physdev:` that of a bridge port."""
    name = text.removeprefix("physdev:")
    if name != text:
        draft.set("physdev", True)
    if len(name) > MAX_IFNAME:
        raise syntax(f"interface name '{name}' is longer than {MAX_IFNAME} characters")
    draft.set(option, name)


def setname(text: str) -> str:
    """Return a set's name."""
    if len(text.encode("utf-8", "surrogateescape")) > MAX_NAME:
        raise syntax(f"setname '{text}' is longer than {MAX_NAME} characters")
    return text


def parse_setname(draft: Draft, option: str, text: str) -> None:
    """Read a set's name."""
    draft.set(option, setname(text))


def parse_name_compat(draft: Draft, text: str) -> None:
    """Read SET,before|after,SET, the old way to say where a set goes."""
    name, _, rest = text.partition(",")
    parts = separated(rest, ",")
    if parts is None or parts[0] not in {"before", "after"}:
        raise TextProblem("you must specify elements as setname,[before|after],setname")
    draft.set("name", setname(name))
    draft.set("nameref", setname(parts[1]))
    if parts[0] == "before":
        draft.set("before", True)


def parse_before(draft: Draft, option: str, text: str) -> None:
    """Read the name of the set to stand before."""
    draft.set(option, setname(text))
    draft.set("before", True)


def set_type(text: str) -> SetType:
    """Return a type by its name or an old name."""
    if len(text) > MAX_NAME:
        raise syntax(f"typename '{text}' is longer than {MAX_NAME} characters")
    kind = find_set_type(text)
    if kind is None:
        raise syntax(f"typename '{text}' is unknown")
    return kind


def parse_comment(draft: Draft, option: str, text: str) -> None:
    """Read an element's comment."""
    if len(text.encode("utf-8", "surrogateescape")) > MAX_COMMENT:
        raise syntax(f"Comment is longer than the maximum allowed {MAX_COMMENT} characters")
    draft.set(option, text)


_LONG = r"[ \t\n\v\f\r]*([+-]?)(?:0[xX])?([0-9a-fA-F]+)"
_MARK_AND_MASK = re.compile(rf"0x{_LONG}(?:/0x{_LONG})?")
_CLASS = re.compile(rf"{_LONG}:{_LONG}")


def _long(sign: str, digits: str) -> int:
    number = min(int(digits, 16), U64)
    return -number & U64 if sign == "-" else number


def parse_skbmark(draft: Draft, option: str, text: str) -> None:
    """Read MARK or MARK/MASK in hexadecimal, behind 0x; what follows is not looked at."""
    found = _MARK_AND_MASK.match(text)
    if found is None:
        raise syntax("Invalid skbmark format, it should be:  MARK/MASK or MARK (see manpage)")
    mark = _long(found[1], found[2])
    mask = U32 if found[4] is None else _long(found[3], found[4])
    draft.set(option, (mark << 32 | mask & U32) & U64)


def parse_skbprio(draft: Draft, option: str, text: str) -> None:
    """Read MAJOR:MINOR in hexadecimal; what follows is not looked at."""
    found = _CLASS.match(text)
    if found is None:
        raise syntax("Invalid skbprio format, it should be:MAJOR:MINOR (see manpage)")
    major, minor = _long(found[1], found[2]), _long(found[3], found[4])
    draft.set(option, (major << 16 | minor & U16) & U32)


def number_up_to(high: int) -> Parser:
    """Return a parser of numbers from 0."""

    def parse(draft: Draft, option: str, text: str) -> None:
        draft.set(option, read_number(text, 0, high))

    return parse


def parse_flag(draft: Draft, option: str, text: str) -> None:
    """Note that it was said."""
    draft.set(option, True)


def parse_ignored(draft: Draft, option: str, text: str) -> None:
    """Refuse an option of old versions: with it, ipset restore ends there without a word."""
    raise TextProblem(
        f"Option '--{option} {text}' is ignored. Please upgrade your syntax. "
        "(ipset restore stops reading there)"
    )


ELEMENT_PARSERS: dict[str, Parser] = {
    "ip": parse_ip,
    "single_ip": parse_single_ip,
    "ip4_single6": parse_ip4_single6,
    "ip4_net6": parse_ip4_net6,
    "proto_port": parse_proto_port,
    "tcp_udp_port": parse_tcp_udp_port,
    "ether": parse_ether,
    "mark": number_up_to(U32),
    "iface": parse_iface,
    "setname": parse_setname,
}
"""What a `Part.parser` stands for."""
