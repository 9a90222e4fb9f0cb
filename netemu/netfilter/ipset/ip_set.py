"""A set and its type: what they have in common, whatever they hold.

Kernel: include/linux/netfilter/ipset/ip_set.h (struct ip_set, ip_set_type, ip_set_type_variant,
ip_set_adt_opt).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol, TypeAlias

from msgspec import Struct, field

from netemu.net import Net
from netemu.netfilter.hook import Family
from netemu.netfilter.ipset.attributes import CreateAttributes, ElementAttributes
from netemu.netfilter.ipset.errcode import Command
from netemu.netfilter.ipset.extension import Extension, Given, Wanted
from netemu.netfilter.ipset.packet import Packet

IPSET_GC_TIME = 3 * 60
"""Longest time between two collections of expired elements, seconds."""

NO_MATCH = 0
MATCH = 1
EXCEPTION = -1
"""Hit an element that is a nomatch one (-ENOTEMPTY)."""


class AdtOptions(Struct, kw_only=True):
    """What a rule asks of a set (struct ip_set_adt_opt)."""

    family: Family
    sources: tuple[bool, ...]
    """For each dimension that the rule gives, whether it is the source side."""
    exist: bool = False
    return_nomatch: bool = False
    skip_counters: bool = False
    skip_subcounters: bool = False
    match_counters: bool = False
    wanted: Wanted = field(default_factory=Wanted)
    timeout_s: int | None = None
    """Of --timeout; None takes the set's."""

    def src(self, dimension: int) -> bool:
        """Return whether a dimension, from 1, is the source side."""
        return len(self.sources) >= dimension and self.sources[dimension - 1]


class Content(Protocol):
    """What a set holds (struct ip_set_type_variant)."""

    def uadt(self, command: Command, said: ElementAttributes, *, exist: bool) -> bool:
        """Add, delete or test what a command names; for a test return whether it is there."""

    def kadt(self, command: Command, packet: Packet, options: AdtOptions, given: Given) -> int:
        """Do it for what a packet has; return NO_MATCH, MATCH or EXCEPTION, raise SetError."""

    def list(self) -> Iterator[ElementAttributes]:
        """Yield the elements in the kernel's order."""

    def head(self) -> CreateAttributes:
        """Return what the set was created with, but extensions and timeout."""

    def flush(self) -> None:
        """Forget all elements."""

    def destroy(self) -> None:
        """Let go of timers and members."""

    def same(self, other: object) -> bool:
        """Return whether another set was created alike (same_set)."""

    @property
    def memsize(self) -> int:
        """Octets that the kernel takes for it."""

    @property
    def elements(self) -> int:
        """How many elements a listing counts."""

    def looked_up(self, packet: Packet, options: AdtOptions) -> ElementAttributes | None:
        """Return what a test looks up of a packet; None when there is nothing to look up."""


class IpSet:
    """One set (struct ip_set)."""

    __slots__ = (
        "content",
        "extensions",
        "family",
        "forceadd",
        "name",
        "net",
        "references",
        "timeout_s",
        "type",
    )

    content: Content

    def __init__(
        self, net: Net, name: str, kind: SetType, family: Family | None, said: CreateAttributes
    ) -> None:
        """Make a set; `kind.make` fills in its content."""
        self.net = net
        self.name = name
        self.type = kind
        self.family = family
        """None: any (NFPROTO_UNSPEC)."""
        self.timeout_s = said.timeout
        """Default of its elements; None when they have none at all (IPSET_NO_TIMEOUT)."""
        if self.timeout_s == NO_TIMEOUT:
            self.timeout_s = NO_TIMEOUT - 1
        self.extensions = Extension(0)
        for kind_of, wanted in (
            (Extension.COUNTER, said.counters),
            (Extension.COMMENT, said.comment),
            (Extension.TIMEOUT, said.timeout is not None),
            (Extension.SKBINFO, said.skbinfo),
        ):
            if wanted:
                self.extensions |= kind_of
        self.forceadd = said.forceadd
        self.references = 0
        """Rules and lists that name it."""

    @property
    def now(self) -> int:
        """Jiffies."""
        return self.net.clock.jiffies

    @property
    def gc_period_s(self) -> int:
        """Seconds between two collections (IPSET_GC_PERIOD)."""
        return min((self.timeout_s or 0) // 3, IPSET_GC_TIME) or 1

    def head(self) -> CreateAttributes:
        """Return everything that the set was created with."""
        said = self.content.head()
        said.timeout = self.timeout_s
        said.counters = bool(self.extensions & Extension.COUNTER)
        said.comment = bool(self.extensions & Extension.COMMENT)
        said.skbinfo = bool(self.extensions & Extension.SKBINFO)
        said.forceadd = self.forceadd
        return said

    def same(self, other: IpSet) -> bool:
        """Return whether `other` was created alike, so that `create -exist` takes it."""
        return (
            self.type is other.type
            and self.timeout_s == other.timeout_s
            and self.extensions == other.extensions
            and self.content.same(other.content)
        )


NO_TIMEOUT = 0xFFFFFFFF
"""UINT_MAX stands for none (IPSET_NO_TIMEOUT)."""


class Part(Struct, frozen=True):
    """One dimension of an element, as ipset(8) reads and prints it."""

    option: str
    """The attribute that it is about: ip, ip2, port, ether, mark, iface, name."""
    parser: str
    """How its text is read: one of ipset's parsers, such as `ip4_single6`."""
    printer: str


MakeFunction: TypeAlias = Callable[[IpSet, CreateAttributes], Content]


class SetType(Struct, frozen=True, kw_only=True):
    """A type of set: one declaration from which reading, printing and lookup come."""

    name: str
    aliases: tuple[str, ...]
    revision: int
    kernel: str
    """Source file in the kernel."""
    duty: str
    """What it holds, in one sentence."""
    families: tuple[Family | None, ...]
    """(None,) for a type that knows no family; the first is the default."""
    parts: tuple[Part, ...]
    optional_last: bool = False
    """The last part may be left out."""
    create: tuple[str, ...]
    """Keywords of `create`, in the order in which they are printed."""
    create_need: tuple[str, ...] = ()
    add: tuple[str, ...]
    """Keywords of `add`, in the order in which they are printed."""
    delete: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    need: tuple[str, ...]
    """Options that an element must have."""
    may: tuple[str, ...] = ()
    """Options beyond these that an element of `add` and `del` may have."""
    test_may: tuple[str, ...] = ()
    features: frozenset[str]
    """What kinds of things it is about: sets can be swapped when these are equal."""
    nomatch: bool = False
    """Elements may be exceptions."""
    last: bool = False
    """It is listed after the others, since it names them (IPSET_DUMP_LAST)."""
    make: MakeFunction

    @property
    def dimension(self) -> int:
        """How many directions a rule must give at least."""
        return len(self.parts)
