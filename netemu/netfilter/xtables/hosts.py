"""Kinds of addresses that iptables reads through the C library (XTTYPE_HOST, XTTYPE_HOSTMASK).

Kernel: none; xtopt_parse_host, xtopt_parse_plenmask and getaddrinfo(3), hence inet_aton(3).

Unlike `-s`, these options take `10.1` as 10.0.0.1, keep host bits outside the mask, and turn a mask
that has gaps or is too long into a full one without a word. Host names are not resolved here.
"""

from __future__ import annotations

from netemu.errors import RulesetError
from netemu.netfilter.hook import Family
from netemu.netfilter.xtables.addresses import Network, ipv6_octets, octets_in, prefix_length
from netemu.netfilter.xtables.kinds import Kind, OptionCall, c_integer, shape
from netemu.wire.address import format_address, mask_of

_DIGITS = frozenset("0123456789")


def inet_aton(text: str) -> bytes | None:
    """Read an IPv4 address of one to four parts; the last one fills what is left.

    >>> inet_aton("10.1").hex(), inet_aton("0x7f000001").hex(), inet_aton("1.2.3.256")
    ('0a000001', '7f000001', None)
    """
    parts = text.split(".")
    if len(parts) > 4 or not all(_is_number(part) for part in parts):
        return None
    *leading, last = (c_integer(part) for part in parts)
    room = 4 - len(leading)
    if any(number > 0xFF for number in leading) or last >= 1 << 8 * room:
        return None
    return bytes(leading) + last.to_bytes(room, "big")


def _is_number(part: str) -> bool:
    return part[:1] in _DIGITS and shape("NUMBER").fullmatch(part) is not None


class LooseHost(Kind[bytes]):
    """One address (XTTYPE_HOST)."""

    form = "ADDRESS"
    terminal = "TEXT"

    def read(self, text: str, call: OptionCall) -> bytes:
        """Convert; names are not resolved."""
        address = ipv6_octets(text) if call.family == Family.IPV6 else inet_aton(text)
        if address is None:
            raise RulesetError(
                f'{call.extension}: bad value for option "--{call.option}": "{text}"; names are '
                "not resolved, write an address"
            )
        return address

    def show(self, value: bytes) -> str:
        """Print the address."""
        return format_address(value)


class LooseHostMask(Kind[Network]):
    """An address with an optional mask (XTTYPE_HOSTMASK)."""

    form = "ADDRESS[/MASK]"
    terminal = "TEXT"

    def read(self, text: str, call: OptionCall) -> Network:
        """Convert both halves; the address keeps its host bits."""
        address_text, slash, mask_text = text.partition("/")
        address = LooseHost().read(address_text, call)
        bits = octets_in(call.family) * 8
        length = _length(mask_text, call, bits) if slash else bits
        return Network(address, mask_of(length, bits // 8))

    def show(self, value: Network) -> str:
        """Print as xtables_ipmask_to_numeric does, a full mask not at all."""
        length = prefix_length(value.mask)
        if length == len(value.mask) * 8:
            return format_address(value.address)
        return f"{format_address(value.address)}/{length}"


class PrefixLength(Kind[int]):
    """A prefix length, or a mask that has one (XTTYPE_PLEN, XTTYPE_PLENMASK)."""

    form = "LENGTH"
    terminal = "TEXT"
    may_be_empty = True

    def __init__(self, *, gaps: bool = True) -> None:
        """A mask with gaps counts as full, or with `gaps` False is refused as the kernel would."""
        self.gaps = gaps

    def read(self, text: str, call: OptionCall) -> int:
        """Read a number or a mask."""
        bits = octets_in(call.family) * 8
        length = _exact_length(text, call, bits)
        if length is None and not self.gaps:
            raise RulesetError(
                f"{call.extension}: the kernel refuses the mask `{text}'; "
                f"a prefix length of 0-{bits} would do"
            )
        return bits if length is None else length

    def show(self, value: int) -> str:
        """Print the length."""
        return str(value)


def _length(text: str, call: OptionCall, bits: int) -> int:
    """Read a prefix length or a mask; one with gaps counts as full."""
    length = _exact_length(text, call, bits)
    return bits if length is None else length


def _exact_length(text: str, call: OptionCall, bits: int) -> int | None:
    """Read a prefix length or a mask; None for one with gaps (xtopt_parse_plen, _mask)."""
    if shape("NUMBER").fullmatch(text) is not None and c_integer(text) <= bits:
        return c_integer(text)
    mask = inet_aton(text) if call.family == Family.IPV4 else ipv6_octets(text)
    if mask is None:
        raise RulesetError(
            f'{call.extension}: bad value for option "--{call.option}", neither a valid network '
            f"mask nor valid CIDR (0-{bits})"
        )
    return prefix_length(mask)
