"""Arrays of elements in a hash table, with the holes that deleted ones leave.

Kernel: net/netfilter/ipset/ip_set_hash_gen.h (struct hbucket, struct net_prefixes).
"""

from __future__ import annotations

from typing import NamedTuple

from netemu.netfilter.ipset.extension import Extensions
from netemu.wire.address import network_of

AHASH_INIT_SIZE = 2
"""Slots that an array begins with, and by which it grows and shrinks."""


class Element(NamedTuple):
    """What a hash type stores; a type uses the fields that it is about."""

    ip: bytes = b""
    cidr: int = 0
    port: int = 0
    proto: int = 0
    ip2: bytes = b""
    cidr2: int = 0
    mark: int = 0
    ether: bytes = b""
    physdev: bool = False
    iface: str = ""
    wildcard: bool = False
    """`iface` is the beginning of the name."""

    def length_of(self, address: int) -> int:
        """Return the prefix length of the first or second address."""
        return self.cidr2 if address else self.cidr

    def cut(self, address: int, cidr: int) -> Element:
        """Return it with the first or second address cut to a prefix length (data_netmask)."""
        if address:
            return self._replace(ip2=network_of(self.ip2, cidr), cidr2=cidr)
        return self._replace(ip=network_of(self.ip, cidr), cidr=cidr)

    @property
    def hashed(self) -> Element:
        """The part that decides about the bucket: all but the device's name."""
        return self._replace(iface="", wildcard=False) if self.iface else self

    def equals(self, other: Element) -> bool:
        """Return whether `other` is this element; a wildcard takes every name (data_equal)."""
        if self == other:
            return True
        if not self.iface or self.hashed != other.hashed:
            return False
        return other.iface.startswith(self.iface) if self.wildcard else self.iface == other.iface


NOTHING = Element()


class Slot:
    """One place in an array; its extensions stay when the element goes."""

    __slots__ = ("element", "extensions", "nomatch", "used")

    def __init__(self) -> None:
        """Start empty."""
        self.element = NOTHING
        self.nomatch = False
        self.used = False
        self.extensions = Extensions()

    def copy(self) -> Slot:
        """Return a slot of another array with the same content."""
        twin = Slot()
        twin.element = self.element
        twin.nomatch = self.nomatch
        twin.used = self.used
        twin.extensions = self.extensions.copy()
        return twin


class Bucket:
    """An array (struct hbucket): the slots from `pos` on have no element."""

    __slots__ = ("pos", "slots")

    def __init__(self, size: int = AHASH_INIT_SIZE) -> None:
        """Start with `size` empty slots."""
        self.slots = [Slot() for _ in range(size)]
        self.pos = 0

    @property
    def size(self) -> int:
        """How many slots there are."""
        return len(self.slots)

    def grow(self) -> None:
        """Add slots."""
        self.slots += [Slot() for _ in range(AHASH_INIT_SIZE)]

    def used(self) -> list[Slot]:
        """Return the slots with an element, in order."""
        return [slot for slot in self.slots[: self.pos] if slot.used]

    def holes(self) -> int:
        """Count the slots below `pos` without an element."""
        return self.pos - len(self.used())

    def packed(self) -> Bucket:
        """Return a smaller array without the holes."""
        tidy = Bucket(self.size - AHASH_INIT_SIZE)
        for number, slot in enumerate(self.used()):
            tidy.slots[number] = slot.copy()
        tidy.pos = len(self.used())
        return tidy


class Prefixes:
    """How many elements have which prefix length; lengths are tried longest first."""

    __slots__ = ("counts", "lengths")

    def __init__(self) -> None:
        """Start without any."""
        self.counts: dict[int, int] = {}
        self.lengths: list[int] = []

    def add(self, cidr: int) -> None:
        """Count an element (mtype_add_cidr)."""
        if cidr not in self.counts:
            self.lengths = sorted([*self.lengths, cidr], reverse=True)
        self.counts[cidr] = self.counts.get(cidr, 0) + 1

    def remove(self, cidr: int) -> None:
        """Count one less (mtype_del_cidr)."""
        left = self.counts.get(cidr, 0) - 1
        if left > 0:
            self.counts[cidr] = left
        elif cidr in self.counts:
            del self.counts[cidr]
            self.lengths.remove(cidr)
