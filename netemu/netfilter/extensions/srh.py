"""The segment routing header of IPv6: match `srh`.

Kernel: net/ipv6/netfilter/ip6t_srh.c (srh1_mt6).

Whatever is wrong with the header, the packet does not match; it is never dropped for it.

Of --srh-hdr-len-eq, -gt and -lt the kernel's structure keeps one number, that of the last one; so
it does for segments left and last entry. The kernel compares the tag in the order of the wire with
a number in its own, here little-endian, order: so `--srh-tag 1` means the tag 256.
"""

from __future__ import annotations

import operator
from collections.abc import Callable

from netemu.netfilter.hook import Family
from netemu.netfilter.xtables.addresses import Network, prefix_length, under_mask
from netemu.netfilter.xtables.hosts import LooseHostMask
from netemu.netfilter.xtables.ip6 import NEXTHDR_ROUTING, Missing, ipv6_find_hdr, ipv6_optlen
from netemu.netfilter.xtables.kinds import U8, U16
from netemu.netfilter.xtables.kit import Match, Option, Settings, always, printed
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.space import same_for_all
from netemu.skb import Skb
from netemu.wire.address import format_address

SEGMENT_ROUTING = 4
"""IPV6_SRCRT_TYPE_4."""

_HEADER_LEN = 8
"""Before the segments."""


class SegmentId(LooseHostMask):
    """An address with its prefix length, which is always printed."""

    def show(self, value: Network) -> str:
        """Print address and length."""
        return f"{format_address(value.address)}/{prefix_length(value.mask)}"


Compare = Callable[[int, int], bool]
FIELDS: dict[str, tuple[int, Compare]] = {
    "srh-next-hdr": (0, operator.eq),
    **{
        f"{name}-{word}": (at, compare)
        for name, at in (("srh-hdr-len", 1), ("srh-segs-left", 3), ("srh-last-entry", 4))
        for word, compare in (("eq", operator.eq), ("gt", operator.gt), ("lt", operator.lt))
    },
}
"""Octet of the header that an option looks at, and how."""

SEGMENTS: dict[str, Callable[[int, int], int | None]] = {
    "srh-psid": lambda left, last: None if left == last else left + 1,
    "srh-nsid": lambda left, last: left - 1 if left else None,
    "srh-lsid": lambda left, last: 0,
}
"""Which segment an option looks at, by the segments left and the last entry; None for none."""

_LAST_ENTRY = 4
_SEGMENTS_LEFT = 3


class Srh:
    """struct ip6t_srh1."""

    __slots__ = ("fields", "segments", "tag")

    def __init__(self, settings: Settings) -> None:
        """List the tests."""
        self.fields = [
            (at, compare, _number(settings, name), settings.inverted(name))
            for name, (at, compare) in FIELDS.items()
            if name in settings
        ]
        self.tag: tuple[bytes, bool] | None = None
        if "srh-tag" in settings:
            tag = settings.need("srh-tag", int).to_bytes(2, "little")
            self.tag = tag, settings.inverted("srh-tag")
        self.segments = [
            (pick, settings.need(name, Network), settings.inverted(name))
            for name, pick in SEGMENTS.items()
            if name in settings
        ]


def _number(settings: Settings, name: str) -> int:
    """Return the number that an option is compared with: that of the last of its kind."""
    at = FIELDS[name][0]
    number = 0
    for option, value, _ in settings.order:
        if option.name in FIELDS and FIELDS[option.name][0] == at:
            assert isinstance(value, int)
            number = value
    return number


def _save_srh(settings: Settings) -> str:
    words = [
        f"{'! ' if settings.inverted(name) else ''}--{name} {_number(settings, name)}"
        for name in FIELDS
        if name in settings
    ]
    rest = printed(settings, "srh-tag", *SEGMENTS)
    return " ".join([*words, rest] if rest else words)


def srh_mt6(info: Srh, skb: Skb, param: XtParam) -> bool:
    """Find the header, compare its fields, then its segments."""
    data = skb.data
    at = _header(data)
    if at is None:
        return False
    for offset, compare, number, invert in info.fields:
        if compare(data[at + offset], number) == invert:
            return False
    if info.tag is not None and (bytes(data[at + 6 : at + 8]) == info.tag[0]) == info.tag[1]:
        return False
    left, last = data[at + _SEGMENTS_LEFT], data[at + _LAST_ENTRY]
    for pick, network, invert in info.segments:
        number_or_none = pick(left, last)
        if number_or_none is None:
            return False
        start = at + _HEADER_LEN + 16 * number_or_none
        segment = bytes(data[start : start + 16])
        if len(segment) < 16:
            return False
        wanted = under_mask(network.address, network.mask)
        if (under_mask(segment, network.mask) == wanted) == invert:
            return False
    return True


def _header(data: bytearray) -> int | None:
    """Return the offset of a good segment routing header."""
    found = ipv6_find_hdr(data, NEXTHDR_ROUTING)
    if isinstance(found, Missing):
        return None
    at = found.offset
    room = len(data) - at
    if room < _HEADER_LEN or room < ipv6_optlen(data, at):
        return None
    good = data[at + 2] == SEGMENT_ROUTING and data[at + _SEGMENTS_LEFT] <= data[at + _LAST_ENTRY]
    return at if good else None


def describe_srh(info: Srh, skb: Skb, param: XtParam) -> str:
    """Say segments left and tag."""
    at = _header(skb.data)
    if at is None:
        return "no segment routing header"
    tag = skb.data[at + 6] << 8 | skb.data[at + 7]
    return f"{skb.data[at + _SEGMENTS_LEFT]} segments left, tag {tag}"


MATCHES = (
    Match(
        name="srh",
        kernel="ip6t_srh.c",
        duty="Looks at the segment routing header.",
        options=(
            *(Option(name, U8(), invertible=True, help="Compares this field.") for name in FIELDS),
            Option(
                "srh-tag",
                U16(),
                invertible=True,
                help="The tag with its two octets swapped, as the kernel compares it.",
            ),
            Option("srh-psid", SegmentId(), invertible=True, help="The segment before."),
            Option("srh-nsid", SegmentId(), invertible=True, help="The next segment."),
            Option("srh-lsid", SegmentId(), invertible=True, help="The last segment."),
        ),
        families=(Family.IPV6,),
        save=_save_srh,
        shares=always,
        build=Srh,
        evaluate=srh_mt6,
        packets=same_for_all,
        describe=describe_srh,
    ),
)
