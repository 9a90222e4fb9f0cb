"""Connections that a helper expects: the data connection that a control connection announced.

Kernel: net/netfilter/nf_conntrack_expect.c.

Theory of operation: an expectation names the destination exactly and the source as far as it is
known. The first packet of a new connection that fits takes the expectation along: its connection
is RELATED and has the expecting one, its master, as its parent. An expectation ends with its time
or with its master.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import Final

from msgspec import Struct

from netemu.link.ratelimit import net_ratelimit
from netemu.net import Net
from netemu.netfilter.conntrack.connection import IPS_DYING, Connection, Zone
from netemu.netfilter.conntrack.tuple import Tuple
from netemu.skb import Skb
from netemu.wire.address import format_address

EXPECT_MAX: Final = "net.netfilter.nf_conntrack_expect_max"

ANY_PART: Final = 0
ONE_PART: Final = 0xFFFF
"""Masks of the source port."""


class Refusal(Enum):
    """Why an expectation was not taken (__nf_ct_expect_check)."""

    BUSY = auto()
    """-EBUSY: somebody else expects what could be the same connection."""
    ALREADY = auto()
    """-EALREADY: another connection expects the same one."""
    TOO_MANY = auto()
    """-EMFILE: the helper, or the table, has no room."""


ExpectFunction = Callable[[Net, Connection, "Expectation"], None]


class Expectation(Struct, kw_only=True, eq=False):
    """What a helper waits for (struct nf_conntrack_expect)."""

    master: Connection
    tuple_: Tuple
    """Original tuple of the connection; its source counts as far as the mask says."""
    src_mask: bytes = b""
    """Which bits of the source address count; empty for all."""
    src_part_mask: int = ANY_PART
    saved_part: int = 0
    """Port before NAT, where the connection is to be sent (saved_proto)."""
    direction: int = 0
    """Direction of the master that the connection goes in, for NAT."""
    permanent: bool = False
    """It stays when the connection comes (NF_CT_EXPECT_PERMANENT)."""
    expectfn: ExpectFunction | None = None
    """What NAT does with the connection."""
    timeout: int = 0
    """Jiffy of its end."""

    @property
    def zone(self) -> Zone:
        """The master's zone; only its number counts (nf_ct_zone_equal_any)."""
        return self.master.zone

    def fits(self, tuple_: Tuple, zone: Zone) -> bool:
        """Return whether a new connection is the expected one (nf_ct_exp_equal)."""
        mine = self.tuple_
        return (
            mine.dst == tuple_.dst
            and mine.dst_part == tuple_.dst_part
            and mine.protocol == tuple_.protocol
            and _same(mine.src, tuple_.src, self.src_mask)
            and not (mine.src_part ^ tuple_.src_part) & self.src_part_mask
            and self.zone.id == zone.id
        )

    def matches(self, other: Expectation) -> bool:
        """Return whether both say exactly the same (expect_matches)."""
        return (
            self.tuple_ == other.tuple_
            and self.src_mask == other.src_mask
            and self.src_part_mask == other.src_part_mask
            and self.zone.id == other.zone.id
        )

    def clashes(self, other: Expectation) -> bool:
        """Return whether one connection could be both (expect_clash)."""
        mine, theirs = self.tuple_, other.tuple_
        src_mask = _both(self.src_mask, other.src_mask)
        return (
            not (mine.src_part ^ theirs.src_part) & self.src_part_mask & other.src_part_mask
            and _same(mine.src, theirs.src, src_mask)
            and (mine.dst, mine.protocol) == (theirs.dst, theirs.protocol)
            and mine.dst_part == theirs.dst_part
            and self.zone.id == other.zone.id
        )

    def text(self, expires_s: int) -> str:
        """Return it as `conntrack -L expect` prints it, which never shows a zone."""
        mine, master = self.tuple_, self.master.original
        ones = format_address(b"\xff" * len(mine.src))
        source = format_address(self.src_mask) if self.src_mask else ones
        permanent = " PERMANENT" if self.permanent else ""
        return (
            f"{expires_s} proto={mine.protocol} {_ends(mine)}"
            f" mask-src={source} mask-dst={ones} sport={self.src_part_mask} dport={ONE_PART}"
            f" master-src={format_address(master.src)} master-dst={format_address(master.dst)}"
            f" sport={master.src_part} dport={master.dst_part}{permanent}"
            f" class=0 helper={self.master.helper}"
        )


def _same(one: bytes, other: bytes, mask: bytes) -> bool:
    """Return whether two addresses are equal under a mask; an empty one stands for all bits."""
    if not mask:
        return one == other
    return len(one) == len(other) and not any(
        (left ^ right) & bits for left, right, bits in zip(one, other, mask, strict=True)
    )


def _both(one: bytes, other: bytes) -> bytes:
    """Return the bits that count in both masks."""
    if not one or not other:
        return one or other
    return bytes(left & right for left, right in zip(one, other, strict=True))


def _ends(tuple_: Tuple) -> str:
    return (
        f"src={format_address(tuple_.src)} dst={format_address(tuple_.dst)}"
        f" sport={tuple_.src_part} dport={tuple_.dst_part}"
    )


class Expectations:
    """All expectations of a namespace (net->ct.expect_hash)."""

    __slots__ = ("_all", "net")

    def __init__(self, net: Net) -> None:
        """Start without; found by `net.generic(Expectations)`."""
        self.net = net
        self._all: list[Expectation] = []

    def __bool__(self) -> bool:
        """Return whether anything may be expected."""
        return bool(self._all)

    def relate(
        self, new: Expectation, max_expected: int, timeout_s: int, skb: Skb
    ) -> Refusal | None:
        """Add an expectation; say why if it cannot be (nf_ct_expect_related).

        The same again from the same master replaces the old one. A helper that has as many as it
        may have forgets its oldest.
        """
        self._expire()
        for old in self._all:
            if old.master is new.master and old.matches(new):
                self._all.remove(old)
                break
            if old.clashes(new):
                return Refusal.BUSY
        siblings = [old for old in self._all if old.master is new.master]
        if max_expected and len(siblings) >= max_expected:
            self._all.remove(siblings[0])
        if len(self._all) >= self.net.sysctl.get(EXPECT_MAX):
            if net_ratelimit(self.net, skb):
                self.net.printk(skb, "nf_conntrack: expectation table full")
            return Refusal.TOO_MANY
        clock = self.net.clock
        new.timeout = clock.jiffies + timeout_s * clock.hz
        self._all.append(new)
        return None

    def unexpect(self, gone: Expectation) -> None:
        """Take an expectation back (nf_ct_unexpect_related)."""
        if gone in self._all:
            self._all.remove(gone)

    def take(self, tuple_: Tuple, zone: Zone) -> Expectation | None:
        """Return the expectation of a new connection (nf_ct_find_expectation).

        It is forgotten, unless it is permanent.
        """
        if not self._all:
            return None
        self._expire()
        for found in reversed(self._all):
            if found.fits(tuple_, zone):
                if found.master.status & IPS_DYING or not found.master.confirmed:
                    return None
                if not found.permanent:
                    self._all.remove(found)
                return found
        return None

    def forget_master(self, master: Connection) -> None:
        """Remove what a connection expects (nf_ct_remove_expectations)."""
        self._all = [found for found in self._all if found.master is not master]

    def dump(self) -> str:
        """Return all as `conntrack -L expect` prints them, in order of creation."""
        self._expire()
        clock = self.net.clock
        return "".join(
            found.text((found.timeout - clock.jiffies) // clock.hz) + "\n" for found in self._all
        )

    def _expire(self) -> None:
        now = self.net.clock.jiffies
        self._all = [found for found in self._all if found.timeout > now]
