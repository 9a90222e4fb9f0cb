"""The bit per possible element behind every `bitmap:` type.

Kernel: net/netfilter/ipset/ip_set_bitmap_gen.h (mtype_add, mtype_del, mtype_test, mtype_gc).

An expired element keeps its bit until it is collected: it cannot be deleted, but added anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from bitarray import bitarray
from msgspec import Struct

from netemu.clock import NSEC_PER_SEC, Timer
from netemu.netfilter.ipset.attributes import CreateAttributes, ElementAttributes
from netemu.netfilter.ipset.errcode import Command, Errno, SetError
from netemu.netfilter.ipset.extension import (
    Extension,
    Extensions,
    Given,
    Wanted,
    given_of,
    match_extensions,
    put_extensions,
    store,
    timeout_at,
)
from netemu.netfilter.ipset.ip_set import MATCH, NO_MATCH, AdtOptions, IpSet
from netemu.netfilter.ipset.memory import comment_octets, element_octets
from netemu.netfilter.ipset.packet import Packet

IPSET_BITMAP_MAX_RANGE = 0xFFFF
BITS_OF_LONG = 64

LONG_OVER = -1
"""A moment before the clock's start."""


class Range(Struct, frozen=True, kw_only=True):
    """What the bits stand for."""

    first: int
    last: int
    size: int
    """How many bits there are."""
    hosts: int = 1
    """How many addresses share a bit."""
    netmask: int = 32

    def has(self, value: int) -> bool:
        """Return whether a value has a bit."""
        return self.first <= value <= self.last

    def bit(self, value: int) -> int:
        """Return its number."""
        return (value - self.first) // self.hosts


class BitmapKind(Struct, frozen=True, kw_only=True):
    """What makes one bitmap type differ from another."""

    span: Callable[[CreateAttributes], Range]
    """The range that `create` says; raises SetError."""
    values: Callable[[Range, ElementAttributes, bool], range]
    """What a command names, in the order in which it is done; the flag says it is a test."""
    value_of: Callable[[Packet, AdtOptions], int]
    """What a packet has; raises SetError."""
    attributes: Callable[[int], ElementAttributes]
    """What a listing says of a value."""
    head: Callable[[Range], CreateAttributes]
    with_mac: bool = False
    """Every bit may have a MAC address beside it."""
    range_first: bool = False
    """A value out of range is refused before extensions are looked at."""
    head_octets: int
    """Size of the map's own struct."""
    struct_octets: int = 0
    align: int = 1


class _Entry:
    """What stands beside a bit."""

    __slots__ = ("ether", "extensions")

    def __init__(self) -> None:
        self.ether: bytes | None = None
        """None: not known yet (MAC_UNSET)."""
        self.extensions = Extensions()


class BitmapContent:
    """The bits of one set (struct bitmap_ip and its like)."""

    def __init__(self, kind: BitmapKind, owner: IpSet, said: CreateAttributes) -> None:
        """Make an empty map."""
        self.kind = kind
        self.set = owner
        self.span = kind.span(said)
        if self.span.size > IPSET_BITMAP_MAX_RANGE + 1:
            raise SetError(Errno.BITMAP_RANGE_SIZE)
        self.members = bitarray(self.span.size)
        self.members.setall(0)
        self._entries: dict[int, _Entry] = {}
        self.elements = 0
        """What a listing counts, expired ones until they are collected."""
        self._timer: Timer | None = None
        if owner.timeout_s is not None:
            self._start_timer()

    def _start_timer(self) -> None:
        clock = self.set.net.clock
        self._timer = clock.call_later(self.set.gc_period_s * NSEC_PER_SEC, self._gc)

    def _entry(self, bit: int) -> _Entry:
        entry = self._entries.get(bit)
        if entry is None:
            entry = self._entries[bit] = _Entry()
        return entry

    def uadt(self, command: Command, said: ElementAttributes, *, exist: bool) -> bool:
        """Add, delete or test what a command names."""
        test = command is Command.TEST
        if self.kind.range_first:
            values = self.kind.values(self.span, said, test)
            given = given_of(self.set.extensions, self.set.timeout_s, said)
        else:
            given = given_of(self.set.extensions, self.set.timeout_s, said)
            values = self.kind.values(self.span, said, test)
        for value in values:
            bit = self.span.bit(value)
            if test:
                result = self._test(bit, said.ether, given, Wanted(), counts=False, compares=False)
                return result == MATCH
            if command is Command.DEL:
                if not self._delete(bit) and not exist:
                    raise SetError(Errno.MISSING)
            elif not self._add(bit, said.ether, given, exist=exist) and not exist:
                raise SetError(Errno.EXIST)
        return True

    def kadt(self, command: Command, packet: Packet, options: AdtOptions, given: Given) -> int:
        """Add, delete or test what a packet has."""
        value = self.kind.value_of(packet, options)
        if not self.span.has(value):
            raise SetError(Errno.BITMAP_RANGE)
        ether = None
        if self.kind.with_mac:
            ether = packet.ether(src=options.src(2))
            if ether is None:
                raise SetError(Errno.EINVAL)
        bit = self.span.bit(value)
        if command is Command.TEST:
            return self._test(
                bit,
                ether,
                given,
                options.wanted,
                counts=not options.skip_counters,
                compares=options.match_counters,
            )
        if command is Command.DEL:
            if not self._delete(bit):
                raise SetError(Errno.MISSING)
        elif not self._add(bit, ether, given, exist=options.exist):
            raise SetError(Errno.EXIST)
        return MATCH

    def looked_up(self, packet: Packet, options: AdtOptions) -> ElementAttributes | None:
        """Return what a test looks up, as a listing would say it; None when there is nothing."""
        try:
            said = self.kind.attributes(self.kind.value_of(packet, options))
        except SetError:
            return None
        if self.kind.with_mac:
            said.ether = packet.ether(src=options.src(2))
        return said

    def _test(
        self,
        bit: int,
        ether: bytes | None,
        given: Given,
        wanted: Wanted,
        *,
        counts: bool,
        compares: bool,
    ) -> int:
        """Look a bit up (mtype_test); a MAC that is not known yet raises EAGAIN."""
        if not self.members[bit]:
            return NO_MATCH
        entry = self._entry(bit)
        if self.kind.with_mac:
            if ether is None or entry.ether is None:
                raise SetError(Errno.EAGAIN)
            if ether != entry.ether:
                return NO_MATCH
        matched = match_extensions(
            entry.extensions,
            self.set.extensions,
            given,
            wanted,
            self.set.now,
            counts=counts,
            compares=compares,
        )
        return MATCH if matched else NO_MATCH

    def _add(self, bit: int, ether: bytes | None, given: Given, *, exist: bool) -> bool:
        """Set a bit; return False when it is set (mtype_add)."""
        owner, entry = self.set, self._entry(bit)
        begins = False  # a stored timeout begins to run, since the MAC is known now
        if not self.members[bit]:
            entry.ether = ether
            self.elements += 1
        elif self.kind.with_mac and ether is not None and entry.ether is None:
            entry.ether = ether
            entry.extensions.comment = ""  # ip_set_init_comment: of a packet there is none
            begins = True
        else:
            if ether is not None and exist:
                entry.ether = ether
            if not self._expired(entry) and not exist:
                return False
            entry.extensions.comment = ""
        if owner.timeout_s is not None:
            self._set_timeout(entry, ether, given, begins=begins)
        kinds = owner.extensions & ~Extension.TIMEOUT
        store(entry.extensions, given, kinds, owner.now, owner.net.clock.hz)
        self.members[bit] = 1
        return True

    def _set_timeout(
        self, entry: _Entry, ether: bytes | None, given: Given, *, begins: bool
    ) -> None:
        """Let the time run, or store it until the MAC is known (bitmap_ipmac_add_timeout)."""
        seconds = given.timeout_s or 0
        slot = entry.extensions
        if self.kind.with_mac and ether is None:
            # Stored as it is, even where the MAC is known: seconds then count as jiffies.
            slot.stored_timeout_s = seconds
            slot.expires_jiffies = LONG_OVER if seconds else None
            return
        if begins and given.timeout_s == self.set.timeout_s:
            seconds = slot.stored_timeout_s
        slot.expires_jiffies = timeout_at(seconds, self.set.now, self.set.net.clock.hz)

    def _expired(self, entry: _Entry) -> bool:
        """Return whether the time is over; a stored timeout looks as if it were."""
        return self.set.timeout_s is not None and entry.extensions.expired(self.set.now)

    def _runs(self, entry: _Entry) -> bool:
        """Return whether an element's time runs: not before its MAC is known."""
        return not self.kind.with_mac or entry.ether is not None

    def _delete(self, bit: int) -> bool:
        """Clear a bit; return False when it was not set or had expired (mtype_del)."""
        if not self.members[bit]:
            return False
        self.members[bit] = 0
        self.elements -= 1
        entry = self._entry(bit)
        entry.extensions.comment = ""
        return not self._expired(entry)

    def _gc(self) -> None:
        """Clear the bits that have expired (mtype_gc)."""
        for bit in self.members.search(bitarray("1")):
            entry = self._entry(bit)
            if self._runs(entry) and self._expired(entry):
                self.members[bit] = 0
                self.elements -= 1
                entry.extensions.comment = ""
        self._start_timer()

    def list(self) -> Iterator[ElementAttributes]:
        """Yield the elements in the order of their bits."""
        owner = self.set
        for bit in self.members.search(bitarray("1")):
            entry = self._entry(bit)
            if self._runs(entry) and self._expired(entry):
                continue
            said = self.kind.attributes(self.span.first + bit * self.span.hosts)
            said.ether = entry.ether
            put_extensions(
                entry.extensions,
                owner.extensions,
                owner.now,
                owner.net.clock.hz,
                said,
                active=self._runs(entry),
            )
            yield said

    def head(self) -> CreateAttributes:
        """Return the range."""
        return self.kind.head(self.span)

    def flush(self) -> None:
        """Clear all bits."""
        self.members.setall(0)
        self.elements = 0
        for entry in self._entries.values():
            entry.extensions.comment = ""

    def destroy(self) -> None:
        """Stop collecting."""
        if self._timer is not None:
            self._timer.cancel()

    def same(self, other: object) -> bool:
        """Return whether another set has the same range."""
        return isinstance(other, BitmapContent) and self.span == other.span

    @property
    def memsize(self) -> int:
        """Octets of header, bits, extensions and comments on a 64-bit machine."""
        octets = element_octets(self.kind.struct_octets, self.set.extensions, self.kind.align)
        longs = -(-self.span.size // BITS_OF_LONG)
        comments = sum(comment_octets(entry.extensions.comment) for entry in self._entries.values())
        return self.kind.head_octets + longs * 8 + self.span.size * octets + comments
