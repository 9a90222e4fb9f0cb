"""Long chains looked up instead of walked: the next rule that a packet can match.

Kernel: none; ipt_do_table of net/ipv4/netfilter/ip_tables.c tries rule after rule.

Theory of operation: only rules that match count, trace and act, so rules that cannot match may be
stepped over unseen. For every rule of a chain the index keeps what it asks of addresses, protocol,
destination port and devices, as far as these are plain equalities. Rules that ask for the same
fields under the same masks share a `Signature`: a dict from the masked values to the numbers of the
rules, ascending (tuple space search). The walk asks for the next number at or behind the one where
it stands and tries that rule whole, so an index that says too much costs time only.

What a rule asks of its port counts only as far as the matches before it are `passive`: one that
counts, draws or drops has to run. No field is used that a target may change on the way. Fragments
and packets cut short, for which a port match may drop the packet, are walked rule by rule.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from netemu.netfilter.xtables.kit import Match
from netemu.netfilter.xtables.model import BoundMatch
from netemu.wire.ipv4 import IPPROTO_TCP, IPPROTO_UDP
from netemu.wire.tcp import MIN_HEADER_LEN
from netemu.wire.udp import HEADER_LEN

LOOKUP_COST = 8
"""Rules that fail in the time in which one signature is looked up (measured)."""

_HEADER = {IPPROTO_TCP: MIN_HEADER_LEN, IPPROTO_UDP: HEADER_LEN}
"""Octets without which a port match drops the packet."""

_PORT_MASK = 0xFFFF
_PROTOCOL_MASK = 0xFF

Key = tuple[int, int, int, int, str, str]
"""Source, destination, protocol, destination port, input and output device, masked."""


class Indexed(Protocol):
    """What an entry tells the index (entry.Entry)."""

    number: int
    saddr: int
    smsk: int
    inv_saddr: bool
    daddr: int
    dmsk: int
    inv_daddr: bool
    proto: int
    inv_proto: bool
    in_name: str
    in_prefix: bool
    inv_in: bool
    out_name: str
    out_prefix: bool
    inv_out: bool

    def bound_matches(self) -> tuple[BoundMatch, ...]:
        """Return the matches of the rule."""


class Fields(NamedTuple):
    """Which fields a rule compares, and under which masks."""

    source: int
    destination: int
    protocol: int
    port: int
    in_device: bool
    out_device: bool


class Signature:
    """The rules that compare the same fields."""

    __slots__ = ("by_in", "by_out", "dmsk", "port_mask", "proto_mask", "rules", "smsk")

    def __init__(self, fields: Fields) -> None:
        """Start without rules."""
        self.smsk, self.dmsk, self.proto_mask, self.port_mask = fields[:4]
        self.by_in, self.by_out = fields[4:]
        self.rules: dict[Key, list[int]] = {}
        """Numbers, ascending."""


class ChainIndex:
    """The rules of one chain by what they compare."""

    __slots__ = ("_last", "_signatures")

    def __init__(self, signatures: Sequence[Signature], last: int) -> None:
        """`last` is the number of the chain's tail, which takes everything."""
        self._signatures = tuple(signatures)
        self._last = last

    def following(  # noqa: PLR0913 - what a packet shows
        self,
        number: int,
        saddr: int,
        daddr: int,
        protocol: int,
        port: int,
        in_name: str,
        out_name: str,
    ) -> int:
        """Return the number of the next rule that may match, at or behind `number`."""
        best = self._last
        for signature in self._signatures:
            numbers = signature.rules.get(
                (
                    saddr & signature.smsk,
                    daddr & signature.dmsk,
                    protocol & signature.proto_mask,
                    port & signature.port_mask,
                    in_name if signature.by_in else "",
                    out_name if signature.by_out else "",
                )
            )
            if numbers is None:
                continue
            place = 0 if numbers[0] >= number else bisect_left(numbers, number)
            if place < len(numbers) and numbers[place] < best:
                best = numbers[place]
        return best


def index_chain(entries: Sequence[Indexed], *, lookup_cost: int = LOOKUP_COST) -> ChainIndex | None:
    """Return the index of a chain's rules; None where the walk may be as fast.

    A packet that meets the most rules there are for one key has so many looked up, and the tail.
    """
    if len(entries) < 2 * lookup_cost:
        return None
    signatures: dict[Fields, Signature] = {}
    for entry in entries:
        fields, key = _asked(entry)
        signature = signatures.get(fields)
        if signature is None:
            signature = signatures[fields] = Signature(fields)
        signature.rules.setdefault(key, []).append(entry.number)
    most = sum(max(map(len, signature.rules.values())) for signature in signatures.values())
    if (most + 1) * len(signatures) * lookup_cost > len(entries):
        return None
    return ChainIndex(list(signatures.values()), len(entries) + 1)


def _asked(entry: Indexed) -> tuple[Fields, Key]:
    """Return which fields a rule compares, and with what."""
    smsk = 0 if entry.inv_saddr else entry.smsk
    dmsk = 0 if entry.inv_daddr else entry.dmsk
    protocol = 0 if entry.inv_proto else entry.proto
    in_name = "" if entry.inv_in or entry.in_prefix else entry.in_name
    out_name = "" if entry.inv_out or entry.out_prefix else entry.out_name
    port = _port(entry.bound_matches()) if protocol in _HEADER else None
    fields = Fields(
        smsk,
        dmsk,
        _PROTOCOL_MASK if protocol else 0,
        _PORT_MASK if port is not None else 0,
        in_device=in_name != "",
        out_device=out_name != "",
    )
    return fields, (entry.saddr & smsk, entry.daddr & dmsk, protocol, port or 0, in_name, out_name)


def _port(matches: Sequence[BoundMatch]) -> int | None:
    """Return the one destination port that a rule takes."""
    for match in matches:
        declaration = match.declaration
        if not isinstance(declaration, Match):
            return None
        if declaration.only_port is not None:
            port: int | None = declaration.only_port(match.settings)
            if port is not None:
                return port
        if not declaration.passive:
            return None
    return None


def shown_port(data: bytearray, protocol: int, thoff: int, fragoff: int) -> int:
    """Return the destination port, 0 without ports, -1 for a packet to be walked rule by rule."""
    if fragoff:
        return -1
    needed = _HEADER.get(protocol)
    if needed is None:
        return 0
    return data[thoff + 2] << 8 | data[thoff + 3] if len(data) >= thoff + needed else -1
