"""What a match says of the packets it takes, and a target of what it does to them.

Kernel: none.

A match declares `packets=`: given what `build` made and a `PacketSpace` it returns the set of
packets that it takes. A target declares `effect=`: it tells a `Rewriting` what of the packet it
changes. Sets are plain ints that only the space understands (analysis/bdd.py); `space.outside(x)`
is the complement. The space reads fields as the packet stands at the rule: after a DNAT the
destination is the new one.

What the packet does not tell is a variable of its own, never silently true or false: `free` where
every rule draws anew (statistic, limit), `fact` where all rules that ask the same are told the same
(string, time), `unknown` where the analysis falls short and whoever depends on it must say so.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from fractions import Fraction
from typing import Any, Protocol, TypeAlias

from netemu.netfilter.hook import Family, Hook
from netemu.netfilter.ipset.core import IpSets


class Field(IntEnum):
    """What a packet has, in the order in which sets test it (measured: few values first)."""

    IN_DEVICE = 0
    OUT_DEVICE = 1
    CT_STATE = 2
    """One of `CtState`."""
    CT_REPLY = 3
    """1 in the direction of the answers."""
    CT_DNAT = 4
    """1 where the connection has another destination than it was opened to."""
    CT_SNAT = 5
    CT_SEEN_REPLY = 6
    CT_ASSURED = 7
    FRAGMENT = 8
    """1 for a fragment other than the first."""
    DESTINATION_LOCAL = 9
    """1 where the destination is an address of the node; of a node whose addresses are known the
    destination tells it."""
    SOURCE_LOCAL = 10
    DESTINATION_BROADCAST = 11
    """1 where the destination is a broadcast address of a network of the node, likewise."""
    DESTINATION = 12
    PROTOCOL = 13
    DESTINATION_PORT = 14
    """Of ICMP: type * 256 + code."""
    SOURCE = 15
    SOURCE_PORT = 16
    """Of ICMP: the identifier."""
    TCP_FLAGS = 17
    """The octet of flags, FIN lowest."""
    TTL = 18
    TOS = 19
    LENGTH = 20
    """Octets of the IP packet."""
    SOURCE_MAC = 21
    MARK = 22
    CONNMARK = 23


class CtState(IntEnum):
    """What a packet is to its connection, as `Field.CT_STATE` has it."""

    NEW = 0
    ESTABLISHED = 1
    RELATED = 2
    INVALID = 3
    UNTRACKED = 4


class PacketSpace(Protocol):
    """Makes sets of packets, as the packets stand at one rule."""

    family: Family
    sets: IpSets | None
    """The node's IP sets; None where they are not known."""
    changing_sets: frozenset[str]
    """Names of those that rules change."""
    text: str
    """The match, as iptables-save prints it."""

    def masked(
        self, field: Field, value: int, mask: int | None = None, *, entered: bool = False
    ) -> int:
        """Return the packets whose field under the mask is the value, or was when they entered."""

    def span(self, field: Field, low: int, high: int, *, entered: bool = False) -> int:
        """Return the packets whose field is within these limits, or was when they entered."""

    def device(self, field: Field, name: str) -> int:
        """Return the packets with a device of this name, a prefix where it ends in `+`."""

    def local(self, field: Field) -> int:
        """Return the packets whose DESTINATION or SOURCE is an address of the node."""

    def broadcast(self, field: Field) -> int:
        """Return the packets whose DESTINATION or SOURCE is a broadcast address."""

    def both(self, *sets: int) -> int:
        """Return the intersection."""

    def either(self, *sets: int) -> int:
        """Return the union."""

    def outside(self, inside: int) -> int:
        """Return the complement."""

    def when(self, inverted: bool, inside: int) -> int:  # noqa: FBT001 - reads like the kernel's ^
        """Return the complement where the option is inverted, else the set itself."""

    def free(self, what: str, weight: Fraction | None = None) -> int:
        """Return a variable that each rule draws for itself."""

    def fact(self, what: str, *fields: Field) -> int:
        """Return a variable that is the same for all rules which ask this of one packet.

        It is another one once addresses, ports, the length or one of these fields were changed.
        """

    def unknown(self, reason: str) -> int:
        """Return a variable for what is not modelled; each rule has its own."""


class Rewriting(Protocol):
    """Takes down what a target does to the packets that it gets."""

    family: Family
    hooks: frozenset[Hook]
    """From which of them packets may come to the rule."""

    def assign(self, field: Field, value: int, mask: int | None = None) -> None:
        """Set the bits under the mask."""

    def flip(self, field: Field, mask: int) -> None:
        """Turn the bits under the mask over."""

    def copy(self, field: Field, bits: dict[int, tuple[Field, int]]) -> None:
        """Take bits (numbered from the lowest) over from other bits."""

    def among(self, field: Field, low: int, high: int) -> None:
        """Set the field to any value within these limits."""

    def forget(self, field: Field) -> None:
        """Set the field to nobody knows what."""

    def change_set(self, name: str) -> None:
        """Put into an IP set, or take out of it, what the packet has."""

    def only(self, packets: Callable[[PacketSpace], int]) -> None:
        """Let what is noted after this happen to these packets only."""


def same_for_all(info: object, space: PacketSpace) -> int:
    """Return what all rules that ask the same are told alike, for a match's `packets`."""
    return space.fact(space.text)


def own_answer(info: object, space: PacketSpace) -> int:
    """Return what each rule is told for itself: the `packets` of a match that counts."""
    return space.free(space.text)


def changes_nothing(info: object, packet: Rewriting) -> None:
    """Leave all as it is that a match can see: the `effect` of targets that only look or end."""


PacketsFunction: TypeAlias = Callable[[Any, PacketSpace], int]
EffectFunction: TypeAlias = Callable[[Any, Rewriting], None]
