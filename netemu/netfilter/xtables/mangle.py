"""What targets share that change a packet: its TOS octet, and checksums over changed words.

Kernel: include/net/dsfield.h (ipv4_change_dsfield, ipv6_change_dsfield), net/core/utils.c
(inet_proto_csum_replace2, inet_proto_csum_replace4).
"""

from __future__ import annotations

from netemu.events import HeaderRewritten
from netemu.netfilter.hook import Family
from netemu.netfilter.xtables.param import XtParam
from netemu.skb import Checksum, Skb
from netemu.wire.checksum import csum_replace
from netemu.wire.fields import get16, set16
from netemu.wire.ipv4 import CHECK


def tell_rewritten(skb: Skb, param: XtParam, what: str, before: str, after: str) -> None:
    """Tell that header octets changed, when somebody listens."""
    if param.net.sink is not None and before != after:
        param.net.tell(skb, HeaderRewritten(what=what, before=before, after=after))


def get_dsfield(skb: Skb, family: Family) -> int:
    """Return the TOS octet, or IPv6's traffic class."""
    if family == Family.IPV6:
        return get16(skb.data, 0) >> 4 & 0xFF
    return skb.data[1]


def change_dsfield(skb: Skb, param: XtParam, keep: int, value: int) -> None:
    """Keep the bits `keep` of the TOS octet and or `value` in."""
    before = get_dsfield(skb, param.family)
    after = before & keep | value
    if param.family == Family.IPV6:
        set16(skb.data, 0, get16(skb.data, 0) & 0xF00F | after << 4)
    else:
        _change_ipv4(skb.data, before, after)
    tell_rewritten(skb, param, "tos", f"0x{before:02x}", f"0x{after:02x}")


def _change_ipv4(data: bytearray, before: int, after: int) -> None:
    """Set the octet; the checksum follows in the kernel's own way, which shows when it is wrong."""
    check = get16(data, CHECK) + before
    if (check + 1) >> 16:
        check = check + 1 & 0xFFFF
    check = check - after & 0xFFFFFFFF
    set16(data, CHECK, check + (check >> 16) & 0xFFFF)
    data[1] = after


def proto_csum_replace(
    skb: Skb, at: int, old: bytes | bytearray, new: bytes | bytearray, *, pseudo: bool = False
) -> None:
    """Update the L4 checksum at `at` after `old` became `new`; both have as many 16-bit words.

    A partial checksum holds only the sum of the pseudo header, so that other words do not count.
    """
    check = get16(skb.data, at)
    if skb.ip_summed != Checksum.PARTIAL:
        set16(skb.data, at, csum_replace(check, old, new))
    elif pseudo:
        set16(skb.data, at, ~csum_replace(~check & 0xFFFF, old, new) & 0xFFFF)
