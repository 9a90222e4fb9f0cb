"""The sets of a namespace: made, filled, renamed, and asked by rules.

Kernel: net/netfilter/ipset/ip_set_core.c (ip_set_create, ip_set_swap, ip_set_test, ip_set_add).

Theory of operation: a set has an index, the first free one when it is made, and rules and lists
hold on to the index: after a swap they ask the other set, which then has the name that they know.
Since a set that is referred to cannot be renamed, rules may hold on to the name here.
"""

from __future__ import annotations

from netemu.link.ratelimit import net_ratelimit
from netemu.net import Net
from netemu.netfilter.hook import Family
from netemu.netfilter.ipset.attributes import CreateAttributes, ElementAttributes
from netemu.netfilter.ipset.errcode import Command, Errno, SetError
from netemu.netfilter.ipset.extension import Given
from netemu.netfilter.ipset.ip_set import EXCEPTION, MATCH, AdtOptions, IpSet, SetType
from netemu.netfilter.ipset.packet import Packet


class IpSets:
    """All sets of one namespace (struct ip_set_net)."""

    __slots__ = ("_indices", "_net", "_sets")

    def __init__(self, net: Net) -> None:
        """Start without any; found by `net.generic(IpSets)`."""
        self._net = net
        self._sets: list[IpSet | None] = []
        self._indices: dict[str, int] = {}

    def __bool__(self) -> bool:
        """Return whether there are sets."""
        return any(self._sets)

    def all(self) -> list[IpSet]:
        """Return the sets as they are listed: lists of sets last."""
        sets = [one for one in self._sets if one is not None]
        return sorted(sets, key=lambda one: one.type.last)

    def find(self, name: str) -> IpSet | None:
        """Return the set of a name (find_set)."""
        index = self._indices.get(name)
        return None if index is None else self._sets[index]

    def index_of(self, name: str) -> int | None:
        """Return the index of the set of a name (ip_set_get_byname)."""
        return self._indices.get(name)

    def at(self, index: int) -> IpSet:
        """Return the set of an index that something refers to."""
        found = self._sets[index]
        assert found is not None
        return found

    def need(self, name: str) -> IpSet:
        """Return the set of a name; refuse when there is none."""
        found = self.find(name)
        if found is None:
            raise SetError(Errno.ENOENT)
        return found

    def create(
        self,
        name: str,
        kind: SetType,
        family: Family | None,
        said: CreateAttributes,
        *,
        exist: bool,
    ) -> None:
        """Make a set; with `exist` an equal one of this name will do."""
        if family not in kind.families:
            raise SetError(Errno.INVALID_FAMILY)
        made = IpSet(self._net, name, kind, family, said)
        made.content = kind.make(made, said)
        there = self.find(name)
        if there is not None:
            made.content.destroy()
            if not exist or not made.same(there):
                raise SetError(Errno.EXIST_SET)
            return
        if None in self._sets:
            index = self._sets.index(None)
            self._sets[index] = made
        else:
            index = len(self._sets)
            self._sets.append(made)
        self._indices[name] = index

    def destroy(self, name: str | None, *, exist: bool = False) -> None:
        """Remove a set, or all, unless something refers to them."""
        if name is not None:
            doomed = self.find(name)
            if doomed is None:
                if exist:
                    return
                raise SetError(Errno.ENOENT)
            if doomed.references:
                raise SetError(Errno.BUSY)
            doomed.content.destroy()
            self._sets[self._indices.pop(name)] = None
            return
        if any(one is not None and one.references for one in self._sets):
            raise SetError(Errno.BUSY)
        for one in self._sets:
            if one is not None:
                one.content.destroy()
        self._sets.clear()
        self._indices.clear()

    def flush(self, name: str | None) -> None:
        """Empty a set, or all."""
        for one in self.all() if name is None else [self.need(name)]:
            one.content.flush()

    def rename(self, name: str, new_name: str) -> None:
        """Give a set another name, unless something refers to it."""
        renamed = self.need(name)
        if renamed.references:
            raise SetError(Errno.REFERENCED)
        if self.find(new_name) is not None:
            raise SetError(Errno.EXIST_SETNAME2)
        renamed.name = new_name
        self._indices[new_name] = self._indices.pop(name)

    def swap(self, name: str, other_name: str) -> None:
        """Exchange names, places and references of two sets."""
        one, other = self.need(name), self.find(other_name)
        if other is None:
            raise SetError(Errno.NO_SETNAME2)
        if one.type.features != other.type.features or one.family != other.family:
            raise SetError(Errno.TYPE_MISMATCH)
        one.name, other.name = other.name, one.name
        one.references, other.references = other.references, one.references
        here, there = self._indices[name], self._indices[other_name]
        self._sets[here], self._sets[there] = other, one

    def adt(self, command: Command, name: str, said: ElementAttributes, *, exist: bool) -> bool:
        """Add, delete or test an element; for a test return whether it is there."""
        try:
            return self.need(name).content.uadt(command, said, exist=exist)
        except SetError as error:
            if command is Command.TEST and error.errno is Errno.EAGAIN:
                return True  # an element without MAC has whatever MAC is asked for
            raise


def _given(asked: IpSet, packet: Packet, options: AdtOptions) -> Given:
    """Return what a packet counts, and the timeout that it adds with (IP_SET_INIT_KEXT)."""
    timeout_s = asked.timeout_s
    if timeout_s is not None and options.timeout_s is not None:
        timeout_s = options.timeout_s
    return Given(timeout_s=timeout_s, packets=1, octets=len(packet.skb.data), comment=None)


def fits(asked: IpSet, options: AdtOptions) -> bool:
    """Return whether a rule gives all dimensions of a set of its family."""
    return len(options.sources) >= asked.type.dimension and (
        asked.family is None or asked.family == options.family
    )


def ip_set_test(asked: IpSet, packet: Packet, options: AdtOptions) -> bool:
    """Return whether a packet is in a set."""
    if not fits(asked, options):
        return False
    try:
        result = asked.content.kadt(Command.TEST, packet, options, _given(asked, packet, options))
    except SetError as error:
        if error.errno is not Errno.EAGAIN:
            return False
        # The element has no MAC yet: it takes the packet's.
        asked.content.kadt(Command.ADD, packet, options, _given(asked, packet, options))
        return True
    if options.return_nomatch and asked.type.nomatch:
        return result == EXCEPTION
    return result == MATCH


def ip_set_add(asked: IpSet, packet: Packet, options: AdtOptions) -> None:
    """Add what a packet has to a set; raises SetError."""
    if not fits(asked, options):
        raise SetError(Errno.TYPE_MISMATCH)
    try:
        asked.content.kadt(Command.ADD, packet, options, _given(asked, packet, options))
    except SetError as error:
        if error.errno is Errno.HASH_FULL and net_ratelimit(asked.net, packet.skb):
            maxelem = asked.head().maxelem
            asked.net.printk(packet.skb, f"Set {asked.name} is full, maxelem {maxelem} reached")
        raise


def ip_set_del(asked: IpSet, packet: Packet, options: AdtOptions) -> None:
    """Delete what a packet has from a set; raises SetError."""
    if not fits(asked, options):
        raise SetError(Errno.TYPE_MISMATCH)
    asked.content.kadt(Command.DEL, packet, options, _given(asked, packet, options))
