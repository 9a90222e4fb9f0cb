"""Prefix translation without state (RFC 6296): targets `SNPT` and `DNPT`.

Kernel: net/ipv6/netfilter/ip6t_NPT.c (ip6t_npt_map_pfx, ip6t_snpt_tg, ip6t_dnpt_tg).

Theory of operation: the prefix of an address is replaced, and one 16-bit word behind it is changed
so that the sum of the address, hence every L4 checksum, stays the same. With a prefix of up to 48
bits that is the word at bits 48-63, else the first one from bit 64 on that is not ffff; if there is
none, the packet is dropped. An ICMPv6 error has its quoted packet translated back, too.

Differs from Linux: the ICMPv6 error that tells the sender of such a drop is not sent.
"""

from __future__ import annotations

from netemu.errors import RulesetError
from netemu.netfilter.hook import Family, Hook, Verdict
from netemu.netfilter.xtables.addresses import Network, prefix_length, under_mask
from netemu.netfilter.xtables.hosts import LooseHostMask
from netemu.netfilter.xtables.ip6 import IPV6_HEADER_LEN, NEXTHDR_ICMP
from netemu.netfilter.xtables.kit import Option, Settings, Target, always
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.space import Field, Rewriting
from netemu.skb import Skb
from netemu.wire.address import format_address

MAX_PREFIX = 64
_MANGLED_0 = 0xFFFF
"""CSUM_MANGLED_0."""

_SOURCE, _DESTINATION = 8, 24
"""Offsets of the addresses in the header."""

_INFORMATIONAL = 0x80
"""ICMPv6 types from here on are no errors."""


class Prefix(LooseHostMask):
    """An address with its prefix length, which is always printed."""

    def show(self, value: Network) -> str:
        """Print address and length."""
        return f"{format_address(value.address)}/{prefix_length(value.mask)}"


def _fold(total: int) -> int:
    """Add the carries of a ones' complement sum back in, until 16 bits are left."""
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def _sum(octets: bytes) -> int:
    return sum(octets[at] << 8 | octets[at + 1] for at in range(0, len(octets), 2))


class Npt:
    """struct ip6t_npt_tginfo."""

    __slots__ = ("adjustment", "destination", "length", "source", "source_mask")

    def __init__(self, settings: Settings) -> None:
        """Work out what the change of prefix does to a checksum (ip6t_npt_checkentry)."""
        source = settings.need("src-pfx", Network)
        destination = settings.need("dst-pfx", Network)
        self.source = source.address
        self.source_mask = source.mask
        self.destination = destination.address
        self.length = max(_length(source), _length(destination))
        self.adjustment = _fold(_sum(source.address) + (_fold(_sum(destination.address)) ^ 0xFFFF))

    def map_prefix(self, data: bytearray, at: int) -> bool:
        """Translate the address at an offset; False when it cannot be (ip6t_npt_map_pfx)."""
        bits = 128 - self.length
        low = int.from_bytes(data[at : at + 16], "big") & ((1 << bits) - 1)
        high = int.from_bytes(self.destination, "big") >> bits << bits
        data[at : at + 16] = (high | low).to_bytes(16, "big")
        words = [3] if self.length <= 48 else [4, 5, 6, 7]
        for word in words:
            place = at + 2 * word
            value = data[place] << 8 | data[place + 1]
            if len(words) > 1 and value == _MANGLED_0:
                continue
            total = _fold(value + self.adjustment)
            total = 0 if total == _MANGLED_0 else total
            data[place : place + 2] = total.to_bytes(2, "big")
            return True
        return False


def _translate(info: Npt, skb: Skb, at: int, quoted_at: int) -> Verdict | None:
    data = skb.data
    if not info.map_prefix(data, at):
        return Verdict.DROP
    inner = _bounced(data)
    if inner is not None:
        place = inner + quoted_at
        if under_mask(bytes(data[place : place + 16]), info.source_mask) == info.source:
            info.map_prefix(data, place)
    return None


def _bounced(data: bytearray) -> int | None:
    """Return the offset of the packet that an ICMPv6 error quotes (get_bounced_hdr)."""
    inner = IPV6_HEADER_LEN + 8
    if data[6] != NEXTHDR_ICMP or len(data) < inner + IPV6_HEADER_LEN:
        return None
    return None if data[IPV6_HEADER_LEN] & _INFORMATIONAL else inner


def ip6t_snpt_tg(info: Npt, skb: Skb, param: XtParam) -> Verdict | None:
    """Translate the source, and the destination of what an error quotes."""
    return _translate(info, skb, _SOURCE, _DESTINATION)


def ip6t_dnpt_tg(info: Npt, skb: Skb, param: XtParam) -> Verdict | None:
    """Translate the destination, and the source of what an error quotes."""
    return _translate(info, skb, _DESTINATION, _SOURCE)


def _length(network: Network) -> int:
    length = prefix_length(network.mask)
    assert length is not None
    return length


def _check_npt(settings: Settings) -> None:
    for name in ("src-pfx", "dst-pfx"):
        network = settings.need(name, Network)
        if _length(network) > MAX_PREFIX:
            raise RulesetError(f"{settings.extension}: --{name} takes a prefix of up to 64 bits")
        if under_mask(network.address, network.mask) != network.address:
            raise RulesetError(f"{settings.extension}: --{name} has bits behind its prefix")


def snpt_effect(info: Npt, packet: Rewriting) -> None:
    """Change the source, the rest of which balances the checksum."""
    packet.forget(Field.SOURCE)


def dnpt_effect(info: Npt, packet: Rewriting) -> None:
    """Change the destination likewise."""
    packet.forget(Field.DESTINATION)


_OPTIONS = tuple(
    Option(
        name,
        Prefix(),
        mandatory=True,
        silent=lambda given: not any(given.value.address),
        help=text,
    )
    for name, text in (("src-pfx", "Prefix that is replaced."), ("dst-pfx", "What it becomes."))
)

TARGETS = (
    Target(
        name="SNPT",
        kernel="ip6t_NPT.c",
        duty="Replaces the prefix of the source address, leaving checksums right.",
        options=_OPTIONS,
        tables=("mangle",),
        hooks=(Hook.INPUT, Hook.POSTROUTING),
        families=(Family.IPV6,),
        check=_check_npt,
        shares=always,
        build=Npt,
        apply=ip6t_snpt_tg,
        effect=snpt_effect,
    ),
    Target(
        name="DNPT",
        kernel="ip6t_NPT.c",
        duty="Replaces the prefix of the destination address, leaving checksums right.",
        options=_OPTIONS,
        tables=("mangle",),
        hooks=(Hook.PREROUTING, Hook.OUTPUT),
        families=(Family.IPV6,),
        check=_check_npt,
        shares=always,
        build=Npt,
        apply=ip6t_dnpt_tg,
        effect=dnpt_effect,
    ),
)
