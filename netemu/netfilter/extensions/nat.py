"""Where to and where from a connection is bound: targets DNAT, SNAT, MASQUERADE and REDIRECT.

Kernel: net/netfilter/xt_nat.c, xt_MASQUERADE.c, xt_REDIRECT.c; libxt_NAT of iptables.

The nat table is asked once for each side of a connection; what a rule binds holds for all later
packets. `--random` draws the port, `--random-fully` differently, `--persistent` gives one client
the same address whatever it talks to. `:8000-8009/80` shifts ports: 80 becomes 8000, 81 8001.
"""

from __future__ import annotations

import re

from msgspec.structs import replace

from netemu.errors import RulesetError
from netemu.net import Net
from netemu.netfilter.conntrack.connection import nf_ct_get
from netemu.netfilter.conntrack.core import nf_ct_netns_get
from netemu.netfilter.hook import Family, Hook, Verdict
from netemu.netfilter.nat.core import nf_nat_setup_info
from netemu.netfilter.nat.masquerade import nf_nat_masquerade_ipv4
from netemu.netfilter.nat.range import (
    MAP_IPS,
    PERSISTENT,
    PROTO_OFFSET,
    PROTO_RANDOM,
    PROTO_RANDOM_FULLY,
    PROTO_SPECIFIED,
    Manip,
    NatRange,
)
from netemu.netfilter.nat.redirect import nf_nat_redirect_ipv4
from netemu.netfilter.xtables.addresses import dotted_octets, ipv6_octets, plain_address
from netemu.netfilter.xtables.kinds import Kind, OptionCall, c_integer
from netemu.netfilter.xtables.kit import Option, Settings, Target, always
from netemu.netfilter.xtables.names import service_port
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.ports import PLAIN_PORT
from netemu.netfilter.xtables.space import Field, PacketSpace, Rewriting
from netemu.skb import Skb
from netemu.wire.address import format_address
from netemu.wire.ipv4 import IPPROTO_DCCP, IPPROTO_ICMP, IPPROTO_SCTP, IPPROTO_TCP, IPPROTO_UDP

_PORTED = (IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP, IPPROTO_DCCP)
"""Protocols whose ports a range sets."""

PORT_PROTOCOLS = frozenset({IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP, IPPROTO_DCCP, IPPROTO_ICMP})
"""Protocols with which iptables takes ports; of ICMP the id is meant. `! -p tcp` passes, too."""

_PORTS = re.compile(r"[ \t\n\v\f\r]*\+?(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)")


def parse_ports(text: str, call: OptionCall) -> NatRange:
    """Read `port[-port[/base]]` (parse_ports of libxt_NAT)."""
    if call.protocol not in PORT_PROTOCOLS:
        raise RulesetError("Need TCP, UDP, SCTP or DCCP with port specification")
    low, rest = _number(text)
    if low is None:
        port = _service(text)
        return NatRange(flags=PROTO_SPECIFIED, min_part=port, max_part=port)
    if not rest:
        return NatRange(flags=PROTO_SPECIFIED, min_part=low, max_part=low)
    if rest[0] == ":":
        raise RulesetError("Invalid port:port syntax - use dash")
    if rest[0] != "-":
        raise RulesetError(f"Garbage after port value: `{rest}'")
    high_text = rest[1:]
    high, rest = _number(high_text)
    if high is None:
        raise RulesetError(f"Port `{high_text}' not valid; 0-65535 would do")
    if high < low:
        raise RulesetError(f"Port range `{high_text}' funky; the lower port comes first")
    if not rest:
        return NatRange(flags=PROTO_SPECIFIED, min_part=low, max_part=high)
    if rest[0] != "/":
        raise RulesetError(f"Garbage after port range: `{rest}'")
    base, _ = _number(rest[1:])
    base = base or _service(rest[1:])
    flags = PROTO_SPECIFIED | PROTO_OFFSET
    return NatRange(flags=flags, min_part=low, max_part=high, base_part=base)


def _number(text: str) -> tuple[int | None, str]:
    """Return a leading port number and what follows it; None when there is none."""
    found = _PORTS.match(text)
    if found is None or c_integer(found[0]) > 0xFFFF:
        return None, text
    return c_integer(found[0]), text[found.end() :]


def _service(text: str) -> int:
    port = service_port(text) if text else None
    if port is None:
        raise RulesetError(f"Port `{text}' not valid; 0-65535 or a service name would do")
    return port


class NatTo(Kind[NatRange]):
    """`[address[-address]][:port[-port[/base]]]`."""

    form = "[ADDRESS[-ADDRESS]][:PORT[-PORT]]"

    def __init__(self, *, forget_base: bool = False) -> None:
        """`forget_base`: revision 1 of SNAT has no room for the base of a port shift: it is 0."""
        self.forget_base = forget_base

    def plain(self, call: OptionCall, *, quoted: bool) -> str | None:
        """Return an address, with a port where there may be one."""
        address = plain_address(call.family)
        if call.protocol not in PORT_PROTOCOLS:
            return address
        if call.family == Family.IPV6:
            return rf"(?:\[{address}\]:{PLAIN_PORT}|{address})"
        return f"{address}(?::{PLAIN_PORT})?"

    def read(self, text: str, call: OptionCall) -> NatRange:
        """Read ports first, then addresses, as parse_to does."""
        addresses, ports_text = self._split(text, call.family)
        ports = NatRange() if ports_text is None else parse_ports(ports_text, call)
        low = high = b""
        flags = ports.flags
        if addresses or ports_text is None:
            first, dash, last = addresses.partition("-")
            low = _address(first, call.family)
            high = _address(last, call.family) if dash else low
            flags |= MAP_IPS
        base = 0 if self.forget_base else ports.base_part
        return replace(ports, flags=flags, min_address=low, max_address=high, base_part=base)

    def _split(self, text: str, family: Family) -> tuple[str, str | None]:
        """Part addresses and ports; IPv6 addresses stand in brackets when ports follow.

        Of IPv6 a single colon begins ports, too, but no address can stand before it.
        """
        if family == Family.IPV4 or (not text.startswith("[") and text.count(":") == 1):
            addresses, colon, ports = text.partition(":")
            if ":" in ports:
                raise RulesetError(f'Bad IP address "{text}"')
            return addresses, ports if colon else None
        if not text.startswith("["):
            return text, None
        addresses, bracket, rest = text[1:].partition("]")
        if not bracket:
            raise RulesetError("Invalid address format")
        # What stands between the bracket and a colon is not looked at.
        _, colon, ports = rest.partition(":")
        return addresses, ports if colon else None

    def show(self, value: NatRange) -> str:
        """Print as print_range does."""
        text = ""
        if value.flags & MAP_IPS:
            text = format_address(value.min_address)
            if value.max_address != value.min_address:
                text += f"-{format_address(value.max_address)}"
            if len(value.min_address) == 16 and value.flags & PROTO_SPECIFIED:
                text = f"[{text}]"
        return f"{text}:{show_ports(value)}" if value.flags & PROTO_SPECIFIED else text


def _address(text: str, family: Family) -> bytes:
    """Read an address as inet_pton does."""
    address = ipv6_octets(text) if family == Family.IPV6 else dotted_octets(text)
    if address is None:
        raise RulesetError(f'Bad IP address "{text}"')
    return address


def show_ports(value: NatRange) -> str:
    """Print `port[-port[/base]]`."""
    text = str(value.min_part)
    if value.max_part != value.min_part:
        text += f"-{value.max_part}"
    return f"{text}/{value.base_part}" if value.flags & PROTO_OFFSET else text


class NatPorts(Kind[NatRange]):
    """`port[-port]` of MASQUERADE and REDIRECT."""

    form = "PORT[-PORT]"

    def __init__(self, *, shift: bool) -> None:
        """`shift`: MASQUERADE takes the base of a port shift, then forgets it; REDIRECT refuses."""
        self.shift = shift

    def read(self, text: str, call: OptionCall) -> NatRange:
        """Read the ports."""
        ports = parse_ports(text, call)
        if ports.flags & PROTO_OFFSET and not self.shift:
            raise RulesetError("Shifted portmap ranges not supported with this kernel")
        return replace(ports, base_part=0)

    def show(self, value: NatRange) -> str:
        """Print the ports."""
        return show_ports(value)


_FLAGS = {
    "random": PROTO_RANDOM,
    "random-fully": PROTO_RANDOM_FULLY,
    "persistent": PERSISTENT,
}


def build_range(settings: Settings) -> NatRange:
    """Join what `--to-...` says with the flags (struct nf_nat_range2)."""
    given = next((settings.given[name] for name in _TO if name in settings), None)
    base = NatRange() if given is None else given.value
    assert isinstance(base, NatRange)
    flags = base.flags
    for name, flag in _FLAGS.items():
        if name in settings:
            flags |= flag
    return base if flags == base.flags else replace(base, flags=flags)


_TO = ("to-destination", "to-source", "to-ports")


def attach_nat(net: Net, range_: NatRange) -> None:
    """Begin to track connections (xt_nat_checkentry and its like)."""
    nf_ct_netns_get(net)


def xt_dnat_target(range_: NatRange, skb: Skb, param: XtParam) -> Verdict | None:
    """Bind the destination."""
    return _setup(range_, Manip.DST, skb, param)


def xt_snat_target(range_: NatRange, skb: Skb, param: XtParam) -> Verdict | None:
    """Bind the source."""
    return _setup(range_, Manip.SRC, skb, param)


def _setup(range_: NatRange, manip: Manip, skb: Skb, param: XtParam) -> Verdict:
    connection, _ = nf_ct_get(skb)
    assert connection is not None
    return nf_nat_setup_info(param.net, connection, range_, manip, skb)


def masquerade_tg(range_: NatRange, skb: Skb, param: XtParam) -> Verdict | None:
    """Bind the source to an address of the output device."""
    assert param.out_device is not None
    return nf_nat_masquerade_ipv4(param.net, skb, range_, param.out_device)


def redirect_tg(range_: NatRange, skb: Skb, param: XtParam) -> Verdict | None:
    """Bind the destination to this node."""
    return nf_nat_redirect_ipv4(param.net, skb, range_, param.hook)


def dnat_effect(range_: NatRange, packet: Rewriting) -> None:
    """Give packets another destination."""
    _bind(range_, packet, Field.DESTINATION, Field.DESTINATION_PORT, Field.CT_DNAT)


def snat_effect(range_: NatRange, packet: Rewriting) -> None:
    """Give packets another source; its port may have to change whatever the rule says."""
    _bind(range_, packet, Field.SOURCE, Field.SOURCE_PORT, Field.CT_SNAT)


def masquerade_effect(range_: NatRange, packet: Rewriting) -> None:
    """Give packets a source that the output device decides."""
    packet.forget(Field.SOURCE)
    _bind(range_, packet, Field.SOURCE, Field.SOURCE_PORT, Field.CT_SNAT)


def redirect_effect(range_: NatRange, packet: Rewriting) -> None:
    """Give packets a destination of the node itself: loopback for its own, else of the device."""
    packet.forget(Field.DESTINATION)
    packet.assign(Field.DESTINATION_LOCAL, 1)
    _bind(range_, packet, Field.DESTINATION, Field.DESTINATION_PORT, Field.CT_DNAT)


def _bind(range_: NatRange, packet: Rewriting, address: Field, port: Field, status: Field) -> None:
    """Set address, port and the connection's status, even if they are what they were."""
    low = int.from_bytes(range_.min_address, "big")
    high = int.from_bytes(range_.max_address, "big")
    ports = bool(range_.flags & PROTO_SPECIFIED)
    packet.assign(status, 1)
    if range_.flags & MAP_IPS:
        if low == high:
            packet.assign(address, low)
        else:
            packet.among(address, low, high)
    if not ports:
        return
    packet.only(_with_ports)
    if range_.flags & PROTO_OFFSET:
        packet.forget(port)
    elif range_.min_part == range_.max_part:
        packet.assign(port, range_.min_part)
    else:
        packet.among(port, range_.min_part, range_.max_part)


def _with_ports(space: PacketSpace) -> int:
    """Return the packets whose port is set; of ICMP it would be the identifier."""
    return space.either(*(space.masked(Field.PROTOCOL, protocol) for protocol in _PORTED))


_RANDOM = Option("random", help="Draws the port.")
_RANDOM_FULLY = Option("random-fully", help="Draws the port from all of the range.")
_PERSISTENT = Option("persistent", help="One client always gets the same address.")

TARGETS = (
    Target(
        name="DNAT",
        kernel="xt_nat.c",
        duty="Binds the connection to another destination.",
        tables=("nat",),
        hooks=(Hook.PREROUTING, Hook.OUTPUT),
        options=(
            Option(
                "to-destination",
                NatTo(),
                mandatory=True,
                help="The new destination; of a range one is chosen.",
                says="to {value}",
            ),
            _RANDOM,
            _PERSISTENT,
        ),
        shares=always,
        build=build_range,
        apply=xt_dnat_target,
        effect=dnat_effect,
        ends=Verdict.ACCEPT,
        attach=attach_nat,
        attach_alike=True,
    ),
    Target(
        name="SNAT",
        kernel="xt_nat.c",
        duty="Binds the connection to another source.",
        tables=("nat",),
        hooks=(Hook.INPUT, Hook.POSTROUTING),
        options=(
            Option(
                "to-source",
                NatTo(forget_base=True),
                mandatory=True,
                help="The new source; of a range one is chosen.",
                says="to {value}",
            ),
            _RANDOM,
            _RANDOM_FULLY,
            _PERSISTENT,
        ),
        shares=always,
        build=build_range,
        apply=xt_snat_target,
        effect=snat_effect,
        ends=Verdict.ACCEPT,
        attach=attach_nat,
        attach_alike=True,
    ),
    Target(
        name="MASQUERADE",
        kernel="xt_MASQUERADE.c",
        duty="Binds the connection to the address of the device that it leaves by.",
        tables=("nat",),
        hooks=(Hook.POSTROUTING,),
        options=(
            Option(
                "to-ports",
                NatPorts(shift=True),
                help="The ports to choose from.",
                says="to port {value}",
            ),
            _RANDOM,
            _RANDOM_FULLY,
        ),
        shares=always,
        build=build_range,
        apply=masquerade_tg,
        effect=masquerade_effect,
        ends=Verdict.ACCEPT,
        attach=attach_nat,
        attach_alike=True,
    ),
    Target(
        name="REDIRECT",
        kernel="xt_REDIRECT.c",
        duty="Binds the connection to this node itself.",
        tables=("nat",),
        hooks=(Hook.PREROUTING, Hook.OUTPUT),
        options=(
            Option(
                "to-ports",
                NatPorts(shift=False),
                help="The port to go to; of a range one is chosen.",
                says="to port {value}",
            ),
            _RANDOM,
        ),
        shares=always,
        build=build_range,
        apply=redirect_tg,
        effect=redirect_effect,
        ends=Verdict.ACCEPT,
        attach=attach_nat,
        attach_alike=True,
    ),
)
