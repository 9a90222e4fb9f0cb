"""Where NAT may map to.

Kernel: include/uapi/linux/netfilter/nf_nat.h (struct nf_nat_range2).
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from msgspec import Struct

from netemu.netfilter.conntrack.connection import (
    IPS_DST_NAT,
    IPS_NAT_MASK,
    IPS_SRC_NAT,
    ORIGINAL,
)
from netemu.netfilter.conntrack.tuple import Tuple
from netemu.netfilter.hook import Hook
from netemu.wire.ipv4 import (
    IPPROTO_GRE,
    IPPROTO_ICMP,
)

MAP_IPS: Final = 1
PROTO_SPECIFIED: Final = 2
PROTO_RANDOM: Final = 4
PERSISTENT: Final = 8
PROTO_RANDOM_FULLY: Final = 16
PROTO_OFFSET: Final = 32
NETMAP: Final = 64
PROTO_RANDOM_ALL: Final = PROTO_RANDOM | PROTO_RANDOM_FULLY
"""NF_NAT_RANGE_*."""


class Manip(IntEnum):
    """What NAT changes (enum nf_nat_manip_type)."""

    SRC = 0
    DST = 1

    @property
    def word(self) -> str:
        """`src` or `dst`."""
        return "dst" if self else "src"


def hook_to_manip(hook: Hook) -> Manip:
    """Return what is changed at a hook (HOOK2MANIP)."""
    return Manip.SRC if hook in (Hook.POSTROUTING, Hook.INPUT) else Manip.DST


def status_bit(manip: Manip, direction: int) -> int:
    """Return the status bit that says that packets of a direction are changed there."""
    bit = IPS_DST_NAT if manip else IPS_SRC_NAT
    return bit if direction == ORIGINAL else bit ^ IPS_NAT_MASK


class NatRange(Struct, frozen=True, kw_only=True):
    """Addresses and ports that NAT may choose from."""

    flags: int = 0
    """NF_NAT_RANGE_* bits of this module."""
    min_address: bytes = b""
    max_address: bytes = b""
    min_part: int = 0
    """Lowest port, ICMP id or GRE key."""
    max_part: int = 0
    base_part: int = 0
    """First port of the incoming range, for a port shift (PROTO_OFFSET)."""


def l4proto_in_range(tuple_: Tuple, manip: Manip, low: int, high: int) -> bool:
    """Return whether the part that NAT may change lies within; true for protocols without."""
    if tuple_.protocol == IPPROTO_ICMP:
        return low <= tuple_.src_part <= high
    if tuple_.has_ports or tuple_.protocol == IPPROTO_GRE:
        part = tuple_.dst_part if manip else tuple_.src_part
        return low <= part <= high
    return True


def nf_in_range(tuple_: Tuple, range_: NatRange) -> bool:
    """Return whether a source mapping to `tuple_` obeys the range."""
    if range_.flags & MAP_IPS and not range_.min_address <= tuple_.src <= range_.max_address:
        return False
    if not range_.flags & PROTO_SPECIFIED:
        return True
    return l4proto_in_range(tuple_, Manip.SRC, range_.min_part, range_.max_part)
