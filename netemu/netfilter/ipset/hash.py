"""The hash table behind every `hash:` type, slot by slot as the kernel keeps it.

Kernel: net/netfilter/ipset/ip_set_hash_gen.h (mtype_add, mtype_del, mtype_test, mtype_resize,
mtype_gc).

Theory of operation: a bucket is an array of slots that grows by two up to `bucketsize`; a full one
makes the whole table double, which only a command can do: a rule's add fails instead. A new
element takes the first free or expired slot. So the order of a listing, what `forceadd` evicts and
what an element inherits of the counters of its predecessor all follow from jhash2 and `initval`. A
saved set names its initval, and then all of this comes out as on the machine; without one it is
drawn from entropy, as the kernel draws it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

from msgspec import Struct

from netemu.clock import NSEC_PER_SEC, Timer
from netemu.hashing import jhash2
from netemu.netfilter.hook import Family
from netemu.netfilter.ipset.attributes import CreateAttributes, ElementAttributes, describe
from netemu.netfilter.ipset.bucket import AHASH_INIT_SIZE, Bucket, Element, Prefixes, Slot
from netemu.netfilter.ipset.errcode import Command, Errno, SetError
from netemu.netfilter.ipset.extension import (
    Given,
    Wanted,
    given_of,
    match_extensions,
    put_extensions,
    store,
)
from netemu.netfilter.ipset.ip_set import EXCEPTION, MATCH, NO_MATCH, AdtOptions, IpSet
from netemu.netfilter.ipset.memory import comment_octets, element_octets
from netemu.netfilter.ipset.packet import Packet
from netemu.wire.address import mask_of

DEFAULT_HASHSIZE = 1024
"""IPSET_DEFAULT_HASHSIZE; others as in ip_set_hash.h and ip_set_hash_gen.h."""

MINIMAL_HASHSIZE = 64
DEFAULT_MAXELEM = 65536
AHASH_MAX_SIZE = 6 * AHASH_INIT_SIZE
AHASH_MAX_TUNED = 64
HTABLE_REGION_BITS = 10
ALL = 0xFFFFFFFF
ALL_OCTET = 0xFF
IPV6_BITS = 128
MOST_BITS = 28
"""A larger table does not fit into the kernel's INT_MAX octets (htable_size)."""

BUCKET_OCTETS = 32
REGION_OCTETS = 24
HTABLE_OCTETS = 24
"""struct hbucket with its alignment, struct ip_set_region, struct htable: on 64-bit machines."""


class HashKind(Struct, frozen=True, kw_only=True):
    """What makes one hash type differ from another."""

    pack: Callable[[Element], bytes]
    """The hashed part of the element's struct, octet by octet."""
    elements: Callable[[HashContent, ElementAttributes, bool], Iterator[Element]]
    """What a command names; the flag says that it is a test, which looks at no ranges (uadt)."""
    element_of: Callable[[HashContent, Packet, AdtOptions, bool], Element]
    """What a packet has; the flag says that it is a test. Raises SetError (kadt)."""
    attributes: Callable[[Element], ElementAttributes]
    """What a listing says of an element (data_list)."""
    nets: tuple[int, ...] = ()
    """Which of its addresses, 0 or 1, are networks."""
    multi: bool = False
    """Elements of one hashed part differ in more (IP_SET_HASH_WITH_MULTI)."""
    loses_reason: bool = False
    """What the set has no room for is refused without the reason, which `||` made 1."""
    address_is_host: bool = False
    """Of IPv6, its first address may not be a network."""
    struct_octets: tuple[int, int]
    """Size of the element's struct for IPv4 and IPv6."""
    head_octets: tuple[int, int]
    """Size of struct htype for both."""


class _BucketFullError(Exception):
    """The table must be resized (-EAGAIN)."""


class HashContent:
    """The elements of one set (struct htype, struct htable)."""

    def __init__(self, kind: HashKind, owner: IpSet, said: CreateAttributes) -> None:
        """Test what was said and make an empty table (hash_create)."""
        self.kind = kind
        self.set = owner
        self.host_mask = 128 if owner.family == Family.IPV6 else 32
        self.markmask = ALL if said.markmask is None else said.markmask
        if self.markmask == 0:
            raise SetError(Errno.INVALID_MARKMASK)
        self.netmask = self._netmask(said)
        self.bitmask = self._bitmask(said)
        hashsize = DEFAULT_HASHSIZE if said.hashsize is None else said.hashsize
        self.bits = (max(MINIMAL_HASHSIZE, hashsize) - 1).bit_length()
        if self.bits > MOST_BITS:
            raise SetError(Errno.ENOMEM)
        self.maxelem = DEFAULT_MAXELEM if said.maxelem is None else said.maxelem
        self.bucketsize = _bucketsize(said.bucketsize)
        self.initval = said.initval
        if self.initval is None:
            self.initval = owner.net.entropy.stream("ipset").u32()
        self.prefixes = {address: Prefixes() for address in kind.nets}
        self._buckets: dict[int, Bucket] = {}
        self._region_elements = [0] * _regions(self.bits)
        self._ext_octets = 0
        """What the kernel reckons that the arrays take: each growth counts a header, too."""
        self._present: dict[Element, int] = {}
        """How many elements have one hashed part: spares a lookup that finds nothing."""
        self._gc_region = 0
        self._timer: Timer | None = None
        if owner.timeout_s is not None:
            self._timer = owner.net.clock.call_later(NSEC_PER_SEC, self._gc)

    def _netmask(self, said: CreateAttributes) -> int:
        if said.netmask is None:
            return self.host_mask
        if not 0 < said.netmask <= self.host_mask:
            raise SetError(Errno.INVALID_NETMASK)
        return said.netmask

    def _bitmask(self, said: CreateAttributes) -> bytes:
        if said.bitmask is None:
            return mask_of(self.netmask, self.host_mask // 8)
        if said.netmask is not None:
            raise SetError(Errno.BITMASK_NETMASK_EXCL)
        if not any(said.bitmask):
            raise SetError(Errno.INVALID_NETMASK)
        return said.bitmask

    def _key(self, element: Element, bits: int) -> int:
        """Return the number of an element's bucket (HKEY)."""
        octets = self.kind.pack(element)
        words = struct.unpack(f"<{len(octets) // 4}I", octets)
        assert self.initval is not None
        return jhash2(words, self.initval) & ((1 << bits) - 1)

    # commands

    def uadt(self, command: Command, said: ElementAttributes, *, exist: bool) -> bool:
        """Add, delete or test what a command names."""
        if self.host_mask == IPV6_BITS:
            self._refuse_ranges(said)
        try:
            given = given_of(self.set.extensions, self.set.timeout_s, said)
        except SetError:
            if self.kind.loses_reason:
                raise SetError(Errno.UNKNOWN) from None
            raise
        test = command is Command.TEST
        for element in self.kind.elements(self, said, test):
            if test:
                result = self.test(element, given, Wanted(), counts=False, compares=False)
                return result == (EXCEPTION if said.nomatch else MATCH)
            if command is Command.DEL:
                if not self.delete(element) and not exist:
                    raise SetError(Errno.MISSING)
                continue
            if not self._add_resizing(element, given, exist=exist, nomatch=said.nomatch):
                if not exist:
                    raise SetError(Errno.EXIST)
        return True

    def _add_resizing(self, element: Element, given: Given, *, exist: bool, nomatch: bool) -> bool:
        while True:
            try:
                return self.add(element, given, exist=exist, nomatch=nomatch)
            except _BucketFullError:
                self._resize()

    def _refuse_ranges(self, said: ElementAttributes) -> None:
        """Refuse what IPv6 sets do not take."""
        if said.ip_to is not None or (said.ip2_to is not None and len(self.kind.nets) > 1):
            raise SetError(Errno.HASH_RANGE_UNSUPPORTED)
        if self.kind.address_is_host and said.cidr not in {None, self.host_mask}:
            raise SetError(Errno.INVALID_CIDR)

    def kadt(self, command: Command, packet: Packet, options: AdtOptions, given: Given) -> int:
        """Add, delete or test what a packet has."""
        element = self.kind.element_of(self, packet, options, command is Command.TEST)
        if command is Command.TEST:
            return self.test(
                element,
                given,
                options.wanted,
                counts=not options.skip_counters,
                compares=options.match_counters,
            )
        if command is Command.DEL:
            if not self.delete(element):
                raise SetError(Errno.MISSING)
            return MATCH
        try:
            added = self.add(element, given, exist=options.exist, nomatch=False)
        except _BucketFullError:
            raise SetError(Errno.EAGAIN) from None
        if not added:
            raise SetError(Errno.EXIST)
        return MATCH

    def looked_up(self, packet: Packet, options: AdtOptions) -> ElementAttributes | None:
        """Return what a test looks up, as a listing would say it; None when there is nothing."""
        try:
            return self.kind.attributes(self.kind.element_of(self, packet, options, True))
        except SetError:
            return None

    def packet_cidr(self, address: int, *, test: bool) -> int:
        """Return the prefix length that a packet's address gets: on add the longest there is."""
        lengths = self.prefixes[address].lengths
        return self.host_mask if test or not lengths else lengths[0]

    # the table

    def add(self, element: Element, given: Given, *, exist: bool, nomatch: bool) -> bool:
        """Add an element; return False when it is there (mtype_add)."""
        key = self._key(element, self.bits)
        region = key >> HTABLE_REGION_BITS
        full = self._is_full(region)
        bucket = self._buckets.get(key)
        if bucket is None:
            if full:
                raise SetError(Errno.HASH_FULL)
            bucket = self._buckets[key] = Bucket()
            self._ext_octets += self._ext_size(AHASH_INIT_SIZE)
        place, multi = None, 0
        now = self.set.now
        for slot in bucket.slots[: bucket.pos]:
            if not slot.used:
                place = place or slot
                continue
            multi += self._is_sibling(slot, element)
            expired = self._expired(slot, now)
            if slot.element.equals(element):
                if not exist and not expired:
                    return False
                self._write(slot, given, nomatch=nomatch)
                return True
            if expired:
                place = place or slot
        if place is None and full and self.set.forceadd:
            place = bucket.slots[0]
        if place is None:
            place = self._new_slot(bucket, multi, full=full)
        elif place.used:
            self._forget(place, region)
        self._take(place, element, region)
        self._write(place, given, nomatch=nomatch)
        return True

    def _is_full(self, region: int) -> bool:
        """Return whether the set has all the elements that it may; collects expired ones first."""
        if self._region_elements[region] < self.maxelem // len(self._region_elements):
            return False
        if self.set.timeout_s is not None:
            self._gc_do(region)
        return sum(self._region_elements) >= self.maxelem

    def _is_sibling(self, slot: Slot, element: Element) -> bool:
        """Return whether a slot is about the same network, of whatever device."""
        one = slot.element
        return self.kind.multi and one.ip == element.ip and one.cidr == element.cidr

    def _new_slot(self, bucket: Bucket, multi: int, *, full: bool) -> Slot:
        """Return the next slot of an array, which may have to grow."""
        if full:
            raise SetError(Errno.HASH_FULL)
        if bucket.pos >= bucket.size:
            if self.kind.multi:
                if self.bucketsize >= AHASH_MAX_TUNED:
                    raise SetError(Errno.HASH_FULL)
                if self.bucketsize <= multi:
                    self.bucketsize += AHASH_INIT_SIZE
            if bucket.size >= self.bucketsize:
                raise _BucketFullError
            bucket.grow()
            self._ext_octets += self._ext_size(AHASH_INIT_SIZE)
        bucket.pos += 1
        return bucket.slots[bucket.pos - 1]

    def _take(self, slot: Slot, element: Element, region: int) -> None:
        """Put an element into a slot."""
        slot.element = element
        slot.used = True
        self._region_elements[region] += 1
        for address, prefixes in self.prefixes.items():
            prefixes.add(element.length_of(address))
        hashed = element.hashed
        self._present[hashed] = self._present.get(hashed, 0) + 1

    def _write(self, slot: Slot, given: Given, *, nomatch: bool) -> None:
        slot.nomatch = nomatch
        owner = self.set
        store(slot.extensions, given, owner.extensions, owner.now, owner.net.clock.hz)

    def _forget(self, slot: Slot, region: int) -> None:
        """Take the element out of a slot; the counters stay there."""
        element = slot.element
        slot.used = False
        slot.extensions.comment = ""
        self._region_elements[region] -= 1
        for address, prefixes in self.prefixes.items():
            prefixes.remove(element.length_of(address))
        hashed = element.hashed
        left = self._present[hashed] - 1
        if left:
            self._present[hashed] = left
        else:
            del self._present[hashed]

    def _expired(self, slot: Slot, now: int) -> bool:
        return self.set.timeout_s is not None and slot.extensions.expired(now)

    def delete(self, element: Element) -> bool:
        """Delete an element; return False when it is not there (mtype_del)."""
        key = self._key(element, self.bits)
        bucket = self._buckets.get(key)
        if bucket is None:
            return False
        for number, slot in enumerate(bucket.slots[: bucket.pos]):
            if not slot.used or not slot.element.equals(element):
                continue
            if self._expired(slot, self.set.now):
                return False
            self._forget(slot, key >> HTABLE_REGION_BITS)
            if number + 1 == bucket.pos:
                bucket.pos -= 1
            holes = bucket.holes()
            if holes == bucket.pos:
                self._free(key)
            elif holes >= AHASH_INIT_SIZE:
                self._pack(key)
            return True
        return False

    def _free(self, key: int) -> None:
        """Give back an empty array."""
        self._ext_octets -= self._ext_size(self._buckets.pop(key).size)

    def _pack(self, key: int) -> None:
        """Make an array with holes smaller."""
        self._buckets[key] = self._buckets[key].packed()
        self._ext_octets -= self._ext_size(AHASH_INIT_SIZE)

    def _ext_size(self, slots: int) -> int:
        """Return the octets of an array (ext_size)."""
        index = 1 if self.host_mask == IPV6_BITS else 0
        octets = element_octets(self.kind.struct_octets[index], self.set.extensions)
        return BUCKET_OCTETS + slots * octets

    def test(
        self, element: Element, given: Given, wanted: Wanted, *, counts: bool, compares: bool
    ) -> int:
        """Look an element up (mtype_test)."""
        owner, now = self.set, self.set.now

        def matches(slot: Slot) -> int:
            if not match_extensions(
                slot.extensions,
                owner.extensions,
                given,
                wanted,
                now,
                counts=counts,
                compares=compares,
            ):
                return NO_MATCH
            if owner.net.sink is not None:
                hit = self.kind.attributes(slot.element)
                hit.nomatch = slot.nomatch
                wanted.note = describe(hit)
            return EXCEPTION if slot.nomatch else MATCH

        nets = self.kind.nets
        if nets and all(element.length_of(net) == self.host_mask for net in nets):
            return self._test_cidrs(element, matches)
        return self._test_one(element, matches)[0]

    def _test_cidrs(self, element: Element, matches: Callable[[Slot], int]) -> int:
        """Try all prefix lengths that elements have, longest first (mtype_test_cidrs)."""
        first, *others = self.kind.nets
        for cidr in self.prefixes[first].lengths:
            tried = element.cut(first, cidr)
            seconds = self.prefixes[others[0]].lengths if others else (None,)
            for cidr2 in seconds:
                one = tried if cidr2 is None else tried.cut(others[0], cidr2)
                result, stops = self._test_one(one, matches)
                if result or stops:
                    return result
        return NO_MATCH

    def _test_one(self, element: Element, matches: Callable[[Slot], int]) -> tuple[int, bool]:
        """Look in one bucket; also say whether its network is there, but not with this device."""
        if not self.kind.multi and element not in self._present:
            return NO_MATCH, False
        bucket = self._buckets.get(self._key(element, self.bits))
        stops = False
        for slot in bucket.used() if bucket is not None else ():
            stops = stops or self._is_sibling(slot, element)
            if not slot.element.equals(element):
                continue
            result = matches(slot)
            if result:
                return result, True
            stops = False
        return NO_MATCH, stops

    def _resize(self) -> None:
        """Double the table, or more if need be (mtype_resize)."""
        now = self.set.now
        kept = [
            slot
            for _, bucket in sorted(self._buckets.items())
            for slot in bucket.used()
            if not self._expired(slot, now)
        ]
        buckets = None
        while buckets is None:
            self.bits += 1
            if self.bits > MOST_BITS:
                raise SetError(Errno.HASH_FULL)
            buckets = self._distributed(kept)
        self._buckets = buckets
        self._region_elements = [0] * _regions(self.bits)
        self._present = {}
        self._ext_octets = 0
        for key, bucket in buckets.items():
            growths = bucket.size // AHASH_INIT_SIZE
            self._ext_octets += growths * self._ext_size(AHASH_INIT_SIZE)
            for slot in bucket.used():
                self._region_elements[key >> HTABLE_REGION_BITS] += 1
                hashed = slot.element.hashed
                self._present[hashed] = self._present.get(hashed, 0) + 1

    def _distributed(self, kept: list[Slot]) -> dict[int, Bucket] | None:
        """Return the slots in a table of the present size; None when a bucket overflows."""
        buckets: dict[int, Bucket] = {}
        for slot in kept:
            bucket = buckets.setdefault(self._key(slot.element, self.bits), Bucket())
            if bucket.pos >= bucket.size:
                if bucket.size >= self.bucketsize:
                    return None
                bucket.grow()
            bucket.slots[bucket.pos] = slot.copy()
            bucket.pos += 1
        return buckets

    def _gc(self) -> None:
        """Collect the expired elements of the next region, and again later (mtype_gc)."""
        regions = len(self._region_elements)
        region = self._gc_region if self._gc_region < regions else 0
        self._gc_region = region + 1 if self._gc_region < regions else 0
        self._gc_do(region)
        clock = self.set.net.clock
        pause = max(self.set.gc_period_s * clock.hz // regions, clock.hz // 10)
        self._timer = clock.call_later(clock.jiffies_to_ns(pause), self._gc)

    def _gc_do(self, region: int) -> None:
        """Remove expired elements and make arrays with holes smaller (mtype_gc_do)."""
        now = self.set.now
        if not self._region_elements[region]:
            return
        for key, bucket in list(self._buckets.items()):
            if key >> HTABLE_REGION_BITS != region:
                continue
            for slot in bucket.used():
                if slot.extensions.expired(now):
                    self._forget(slot, region)
            holes = bucket.holes()
            if holes < AHASH_INIT_SIZE:
                continue
            if holes >= bucket.size:
                self._free(key)
            else:
                self._pack(key)

    # the set as a whole

    def list(self) -> Iterator[ElementAttributes]:
        """Yield the elements bucket by bucket (mtype_list)."""
        owner, now = self.set, self.set.now
        for _, bucket in sorted(self._buckets.items()):
            for slot in bucket.used():
                if self._expired(slot, now):
                    continue
                said = self.kind.attributes(slot.element)
                said.nomatch = slot.nomatch
                put_extensions(slot.extensions, owner.extensions, now, owner.net.clock.hz, said)
                yield said

    def head(self) -> CreateAttributes:
        """Return size, masks and hash parameters (mtype_head)."""
        said = CreateAttributes(
            hashsize=1 << self.bits,
            maxelem=self.maxelem,
            bucketsize=self.bucketsize,
            initval=self.initval,
            markmask=self.markmask,
        )
        if self.netmask != self.host_mask:
            said.netmask = self.netmask
        elif any(octet != ALL_OCTET for octet in self.bitmask):
            said.bitmask = self.bitmask
        return said

    def flush(self) -> None:
        """Forget all elements (mtype_flush)."""
        self._buckets.clear()
        self._present.clear()
        self._ext_octets = 0
        self._region_elements = [0] * len(self._region_elements)
        self.prefixes = {address: Prefixes() for address in self.kind.nets}

    def destroy(self) -> None:
        """Stop collecting."""
        if self._timer is not None:
            self._timer.cancel()

    def same(self, other: object) -> bool:
        """Return whether another set was created alike; sizes may differ (mtype_same_set)."""
        return (
            isinstance(other, HashContent)
            and self.maxelem == other.maxelem
            and self.bitmask == other.bitmask
            and self.markmask == other.markmask
        )

    @property
    def elements(self) -> int:
        """Elements that have not expired (mtype_ext_size)."""
        return sum(1 for _ in self.list())

    @property
    def memsize(self) -> int:
        """Octets of header, regions, arrays and comments on a 64-bit machine."""
        index = 1 if self.host_mask == IPV6_BITS else 0
        total = self.kind.head_octets[index] + HTABLE_OCTETS + self._ext_octets
        total += REGION_OCTETS * len(self._region_elements)
        for bucket in self._buckets.values():
            total += sum(comment_octets(slot.extensions.comment) for slot in bucket.used())
        return total


def _regions(bits: int) -> int:
    """Return how many locks guard a table; each counts its own elements (ahash_numof_locks)."""
    return 1 << max(0, bits - HTABLE_REGION_BITS)


def _bucketsize(said: int | None) -> int:
    """Return the largest size of an array: even, 2 to 12."""
    if said is None:
        return AHASH_MAX_SIZE
    return min(max(said + said % 2, AHASH_INIT_SIZE), AHASH_MAX_SIZE)
