"""What kind of address a packet's source or destination is: match `addrtype`.

Kernel: net/netfilter/xt_addrtype.c (addrtype_mt_v1), net/ipv4/fib_frontend.c (inet_dev_addr_type).

Only the local routing table is asked: LOCAL is every address of this node, on any of its devices;
whatever that table does not know is UNICAST, reachable or not.

Of an IPv6 address all the listed types must hold, not one of them (match_type6).

Differs from Linux: there are no IPv6 routes here, so no IPv6 address is LOCAL, ANYCAST or
UNREACHABLE.

Differs from Linux: only IPv4 packets are walked so far; rules for IPv6 are read and printed.
"""

from __future__ import annotations

from netemu.errors import RulesetError
from netemu.ip.fib import inet_dev_addr_type
from netemu.net import Net
from netemu.netfilter.hook import Family, Hook
from netemu.netfilter.xtables.abbreviated import AbbreviatedList
from netemu.netfilter.xtables.header import destination_address, source_address
from netemu.netfilter.xtables.kit import Match, Option, Settings, always
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.space import Field, PacketSpace
from netemu.skb import Device, Skb
from netemu.wire.address import format_address

TYPES = {
    name: 1 << number
    for number, name in enumerate(
        (
            "UNSPEC",
            "UNICAST",
            "LOCAL",
            "BROADCAST",
            "ANYCAST",
            "MULTICAST",
            "BLACKHOLE",
            "UNREACHABLE",
            "PROHIBIT",
            "THROW",
            "NAT",
            "XRESOLVE",
        )
    )
}
"""RTN_* as bits (include/uapi/linux/rtnetlink.h)."""

IPV4_ONLY = sum(TYPES.values()) & ~(
    TYPES["UNSPEC"]
    | TYPES["UNICAST"]
    | TYPES["LOCAL"]
    | TYPES["ANYCAST"]
    | TYPES["MULTICAST"]
    | TYPES["UNREACHABLE"]
)
"""Types that rules for IPv6 may not ask for (addrtype_mt_checkentry_v1)."""


class Addrtype:
    """struct xt_addrtype_info_v1."""

    __slots__ = (
        "dest",
        "family",
        "invert_dest",
        "invert_source",
        "limit_in",
        "limit_out",
        "source",
    )

    def __init__(self, settings: Settings) -> None:
        """Take the options apart."""
        self.family = settings.family
        self.source = settings.get("src-type", int, 0)
        self.invert_source = settings.inverted("src-type")
        self.dest = settings.get("dst-type", int, 0)
        self.invert_dest = settings.inverted("dst-type")
        self.limit_in = "limit-iface-in" in settings
        self.limit_out = "limit-iface-out" in settings

    def device(self, param: XtParam) -> Device | None:
        """Return the device whose addresses alone count."""
        if self.limit_in:
            return param.in_device
        return param.out_device if self.limit_out else None


def addrtype_mt(info: Addrtype, skb: Skb, param: XtParam) -> bool:
    """Look both addresses up."""
    if info.family == Family.IPV6:
        return addrtype_mt6(info, skb)
    device = info.device(param)
    data = skb.data
    if info.source:
        found = _bit(param.net, device, bytes(data[12:16]))
        if bool(info.source & found) == info.invert_source:
            return False
    if info.dest:
        found = _bit(param.net, device, bytes(data[16:20]))
        return bool(info.dest & found) != info.invert_dest
    return True


def addrtype_mt6(info: Addrtype, skb: Skb) -> bool:
    """Compare both IPv6 addresses."""
    source = source_address(skb, Family.IPV6)
    if info.source and match_type6(source, info.source) == info.invert_source:
        return False
    destination = destination_address(skb, Family.IPV6)
    return not info.dest or match_type6(destination, info.dest) != info.invert_dest


def match_type6(address: bytes, wanted: int) -> bool:
    """Return whether an IPv6 address is of all the wanted types."""
    return not (
        (wanted & TYPES["MULTICAST"] and address[0] != 0xFF)
        or (wanted & TYPES["UNICAST"] and not _unicast6(address))
        or (wanted & TYPES["UNSPEC"] and any(address))
        or wanted & _ROUTED
    )


_ROUTED = TYPES["LOCAL"] | TYPES["ANYCAST"] | TYPES["UNREACHABLE"]
"""Types of IPv6 that only routes can tell."""

_MAPPED = bytes(10) + b"\xff\xff"


def _unicast6(address: bytes) -> bool:
    """Return whether IPV6_ADDR_UNICAST is set: not for ::, multicast and IPv4-mapped ones."""
    return any(address) and address[0] != 0xFF and address[:12] != _MAPPED


def _bit(net: Net, device: Device | None, address: bytes) -> int:
    return 1 << inet_dev_addr_type(net, device, address)


def addrtype_packets(info: Addrtype, space: PacketSpace) -> int:
    """Return the packets with addresses of the listed types."""
    wants = {info.source, info.dest} - {0}
    if info.family == Family.IPV6 and wants != {TYPES["LOCAL"]}:
        return space.unknown(space.text)
    if info.limit_in or info.limit_out:
        return _limited(info, space)
    found = space.both()
    for field, wanted, invert in (
        (Field.SOURCE, info.source, info.invert_source),
        (Field.DESTINATION, info.dest, info.invert_dest),
    ):
        if wanted:
            found = space.both(found, space.when(invert, _of_types(field, wanted, space)))
    return found


def _limited(info: Addrtype, space: PacketSpace) -> int:
    """Return the packets whose addresses are of such types at one of their devices.

    Which addresses are at which device is told to all rules alike; what is LOCAL at one device is
    an address of the node.
    """
    found = space.fact(space.text)
    for field, wanted, invert in (
        (Field.SOURCE, info.source, info.invert_source),
        (Field.DESTINATION, info.dest, info.invert_dest),
    ):
        if wanted == TYPES["LOCAL"] and not invert:
            found = space.both(found, _of_types(field, wanted, space))
    return found


def _of_types(field: Field, wanted: int, space: PacketSpace) -> int:
    """Return the packets whose address is of one of the types, as the local table has them."""
    local = space.local(field)
    if space.family == Family.IPV6:
        return local
    multicast = space.masked(field, 0xE0000000, 0xF0000000)
    broadcast = space.either(space.broadcast(field), space.masked(field, 0, 0xFF000000))
    special = space.either(local, multicast, broadcast)
    sets = {
        "LOCAL": space.both(local, space.outside(space.either(multicast, broadcast))),
        "MULTICAST": multicast,
        "BROADCAST": space.both(broadcast, space.outside(multicast)),
        "UNICAST": space.outside(special),
    }
    return space.either(*(inside for name, inside in sets.items() if wanted & TYPES[name]))


def describe_addrtype(info: Addrtype, skb: Skb, param: XtParam) -> str:
    """Say what the addresses are that the rule asks for."""
    if info.family == Family.IPV6:
        source = format_address(source_address(skb, Family.IPV6))
        return f"{source} to {format_address(destination_address(skb, Family.IPV6))}"
    device = info.device(param)
    names = {bit: name for name, bit in TYPES.items()}
    parts = []
    for word, wanted, at in (("source", info.source, 12), ("destination", info.dest, 16)):
        if wanted:
            kind = names[_bit(param.net, device, bytes(skb.data[at : at + 4]))]
            parts.append(f"{word} {kind}")
    return ", ".join(parts)


def _check_addrtype(settings: Settings) -> None:
    if "src-type" not in settings and "dst-type" not in settings:
        raise RulesetError("addrtype: you must specify --src-type or --dst-type")
    types = settings.get("src-type", int, 0) | settings.get("dst-type", int, 0)
    if settings.family == Family.IPV6 and types & IPV4_ONLY:
        names = ", ".join(name for name, bit in TYPES.items() if types & bit & IPV4_ONLY)
        raise RulesetError(f"addrtype: the kernel does not know the type {names} for IPv6")


def _check_hooks(settings: Settings, hooks: frozenset[Hook]) -> None:
    """Refuse a device that there cannot be (addrtype_mt_checkentry_v1)."""
    if "limit-iface-out" in settings and hooks & {Hook.PREROUTING, Hook.INPUT}:
        raise RulesetError(
            "addrtype: output interface limitation not valid in PREROUTING and INPUT"
        )
    if "limit-iface-in" in settings and hooks & {Hook.POSTROUTING, Hook.OUTPUT}:
        raise RulesetError(
            "addrtype: input interface limitation not valid in POSTROUTING and OUTPUT"
        )


_LIST = AbbreviatedList(TYPES, bad='addrtype: bad type "%s"')

MATCHES = (
    Match(
        name="addrtype",
        kernel="xt_addrtype.c",
        duty="Compares what kind of address source or destination is to this node.",
        options=(
            Option(
                "src-type",
                _LIST,
                invertible=True,
                help="Kinds of source addresses.",
                says="the source {is} of type {value}",
            ),
            Option(
                "dst-type",
                _LIST,
                invertible=True,
                help="Kinds of destination addresses.",
                says="the destination {is} of type {value}",
            ),
            Option(
                "limit-iface-in",
                excludes=("limit-iface-out",),
                help="Only addresses of the input device are LOCAL.",
            ),
            Option(
                "limit-iface-out",
                excludes=("limit-iface-in",),
                help="Only addresses of the output device are LOCAL.",
            ),
        ),
        check=_check_addrtype,
        check_hooks=_check_hooks,
        shares=always,
        build=Addrtype,
        evaluate=addrtype_mt,
        packets=addrtype_packets,
        describe=describe_addrtype,
    ),
)
