"""Sets in a list: type `list:set`.

Kernel: net/netfilter/ipset/ip_set_list_set.c.

A packet is looked up in one set after the other; the first that has it decides. A rule's add or
del goes to the first set that takes it.
"""

from __future__ import annotations

from collections.abc import Iterator

from netemu.clock import NSEC_PER_SEC, Timer
from netemu.netfilter.ipset.attributes import CreateAttributes, ElementAttributes
from netemu.netfilter.ipset.core import IpSets, fits, ip_set_add, ip_set_del, ip_set_test
from netemu.netfilter.ipset.errcode import Command, Errno, SetError
from netemu.netfilter.ipset.extension import (
    Extensions,
    Given,
    given_of,
    match_extensions,
    put_extensions,
    store,
)
from netemu.netfilter.ipset.ip_set import MATCH, NO_MATCH, AdtOptions, IpSet, Part, SetType
from netemu.netfilter.ipset.keywords import ANY, VALUES
from netemu.netfilter.ipset.memory import comment_octets, element_octets
from netemu.netfilter.ipset.packet import Packet

DEFAULT_SIZE = 8
MIN_SIZE = 4
"""IP_SET_LIST_DEFAULT_SIZE, IP_SET_LIST_MIN_SIZE. The size is remembered and limits nothing."""

HEAD_OCTETS = 80
MEMBER_OCTETS = 48
"""struct list_set and struct set_elem on 64-bit machines."""


class _Member:
    """One set of a list (struct set_elem)."""

    __slots__ = ("extensions", "index")

    def __init__(self, index: int) -> None:
        self.index = index
        """Of the set: what stands there may be swapped."""
        self.extensions = Extensions()


class ListContent:
    """The sets of one list (struct list_set)."""

    def __init__(self, owner: IpSet, said: CreateAttributes) -> None:
        """Make an empty list."""
        self.set = owner
        self._sets = owner.net.generic(IpSets)
        self.size = max(MIN_SIZE, DEFAULT_SIZE if said.size is None else said.size)
        self._members: list[_Member] = []
        self._timer: Timer | None = None
        if owner.timeout_s is not None:
            self._start_timer()

    def _start_timer(self) -> None:
        clock = self.set.net.clock
        self._timer = clock.call_later(self.set.gc_period_s * NSEC_PER_SEC, self._gc)

    # packets

    def kadt(self, command: Command, packet: Packet, options: AdtOptions, given: Given) -> int:
        """Do it in the members, one after the other."""
        if command is Command.TEST:
            return self._ktest(packet, options, given)
        act = ip_set_add if command is Command.ADD else ip_set_del
        for member in self._members:
            if self._expired(member):
                continue
            try:
                act(self._sets.at(member.index), packet, options)
            except SetError:
                continue
            break
        return MATCH

    def _ktest(self, packet: Packet, options: AdtOptions, given: Given) -> int:
        """Return the first hit whose own counters are as wanted (list_set_ktest)."""
        counts, compares = not options.skip_counters, options.match_counters
        options.match_counters = False
        options.skip_counters = options.skip_counters or options.skip_subcounters
        for member in self._members:
            asked = self._sets.at(member.index)
            if ip_set_test(asked, packet, options) and match_extensions(
                member.extensions,
                self.set.extensions,
                given,
                options.wanted,
                self.set.now,
                counts=counts,
                compares=compares,
            ):
                options.wanted.note = f"{asked.name}: {options.wanted.note}".rstrip(": ")
                return MATCH
        return NO_MATCH

    def looked_up(self, packet: Packet, options: AdtOptions) -> ElementAttributes | None:
        """Return what the first member that can be asked would look up."""
        for member in self.members():
            said = member.content.looked_up(packet, options) if fits(member, options) else None
            if said is not None:
                return said
        return None

    def members(self) -> list[IpSet]:
        """Return the sets, in order."""
        return [self._sets.at(member.index) for member in self._members]

    # commands

    def uadt(self, command: Command, said: ElementAttributes, *, exist: bool) -> bool:
        """Add, delete or test a member (list_set_uadt)."""
        given = given_of(self.set.extensions, self.set.timeout_s, said)
        wanted = self._sets.index_of(said.name or "")
        if wanted is None:
            raise SetError(Errno.NAME)
        if self._sets.at(wanted).type.last:
            raise SetError(Errno.LOOP)
        reference = None
        if said.before and said.nameref is None:
            raise SetError(Errno.BEFORE)
        if said.nameref is not None:
            reference = self._sets.index_of(said.nameref)
            if reference is None:
                raise SetError(Errno.NAMEREF)
        if command is Command.TEST:
            return self._test(wanted, reference, before=said.before)
        self._clean_up()
        if command is Command.ADD:
            return self._add(wanted, reference, given, before=said.before, exist=exist)
        return self._delete(wanted, reference, before=said.before, exist=exist)

    def _alive(self) -> list[_Member]:
        return [member for member in self._members if not self._expired(member)]

    def _place(self, wanted: int) -> int | None:
        """Return where a member that has not expired stands."""
        for number, member in enumerate(self._members):
            if member.index == wanted and not self._expired(member):
                return number
        return None

    def _beside(self, place: int, *, before: bool) -> int | None:
        """Return the set behind a member, or the one in front of it that has not expired."""
        if before:
            return self._members[place + 1].index if place + 1 < len(self._members) else None
        return next(
            (one.index for one in reversed(self._members[:place]) if not self._expired(one)), None
        )

    def _test(self, wanted: int, reference: int | None, *, before: bool) -> bool:
        place = self._place(wanted)
        if place is None or reference is None:
            return place is not None
        return self._beside(place, before=before) == reference

    def _add(
        self,
        wanted: int,
        reference: int | None,
        given: Given,
        *,
        before: bool,
        exist: bool,
    ) -> bool:
        """Add a set at the end, or before or after another (list_set_uadd)."""
        at = len(self._members)
        if reference is not None:
            place = self._place(reference) if reference != wanted else None
            if place is None:
                raise SetError(Errno.REF_EXIST)
            at = place if before else place + 1
        there = self._place(wanted)
        if there is not None:
            if not exist:
                raise SetError(Errno.EXIST)
            self._store(self._members[there], given)
            return True
        member = _Member(wanted)
        self._sets.at(wanted).references += 1
        self._store(member, given)
        self._members.insert(at, member)
        return True

    def _store(self, member: _Member, given: Given) -> None:
        owner = self.set
        member.extensions.comment = ""
        store(member.extensions, given, owner.extensions, owner.now, owner.net.clock.hz)

    def _delete(self, wanted: int, reference: int | None, *, before: bool, exist: bool) -> bool:
        """Delete a set, if it stands where it was said to (list_set_udel)."""
        place = self._place(wanted)
        if reference is not None:
            if place is None or self._beside(place, before=before) != reference:
                raise SetError(Errno.REF_EXIST)
        if place is None:
            if exist:
                return True
            raise SetError(Errno.MISSING)
        self._drop(self._members[place])
        return True

    def _drop(self, member: _Member) -> None:
        self._members.remove(member)
        self._sets.at(member.index).references -= 1

    def _expired(self, member: _Member) -> bool:
        return self.set.timeout_s is not None and member.extensions.expired(self.set.now)

    def _clean_up(self) -> None:
        """Drop what has expired (set_cleanup_entries)."""
        for member in list(self._members):
            if self._expired(member):
                self._drop(member)

    def _gc(self) -> None:
        self._clean_up()
        self._start_timer()

    # the set as a whole

    def list(self) -> Iterator[ElementAttributes]:
        """Yield the members in order."""
        owner = self.set
        for member in self._alive():
            said = ElementAttributes(name=self._sets.at(member.index).name)
            put_extensions(member.extensions, owner.extensions, owner.now, owner.net.clock.hz, said)
            yield said

    def head(self) -> CreateAttributes:
        """Return the size."""
        return CreateAttributes(size=self.size)

    def flush(self) -> None:
        """Drop all members."""
        for member in list(self._members):
            self._drop(member)

    def destroy(self) -> None:
        """Stop collecting, and let go of the members."""
        if self._timer is not None:
            self._timer.cancel()
        self.flush()

    def same(self, other: object) -> bool:
        """Return whether another list has the same size."""
        return isinstance(other, ListContent) and self.size == other.size

    @property
    def elements(self) -> int:
        """Members, expired ones until they are collected."""
        return len(self._members)

    @property
    def memsize(self) -> int:
        """Octets of header, members and comments on a 64-bit machine."""
        octets = element_octets(MEMBER_OCTETS, self.set.extensions, 8)
        comments = sum(comment_octets(member.extensions.comment) for member in self._members)
        return HEAD_OCTETS + len(self._members) * octets + comments


TYPE = SetType(
    name="list:set",
    aliases=("setlist",),
    revision=3,
    kernel="ip_set_list_set.c",
    duty="Holds other sets, which are asked one after the other.",
    families=ANY,
    parts=(Part("name", "setname", "name"),),
    create=("size", "timeout", "counters", "comment", "skbinfo"),
    add=("timeout", "before", "after", *VALUES),
    delete=("before", "after"),
    test=("before", "after"),
    need=("name",),
    may=("before", "nameref"),
    test_may=("before", "nameref"),
    features=frozenset({"name"}),
    last=True,
    make=ListContent,
)
