"""What a node's rules make of one new packet, reasoned and not played, in either family.

Kernel: none; what is modelled is told in `netemu/analysis`.

The packet is a point in the space of all packets. Each end of the tables (`behaviour`) whose set
has the point is one that it may come to; with which probability, the draws on its way say. Nothing
came before it: its connection is new, and the lists of `-m recent` are empty.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction

from msgspec import Struct

from netemu.analysis.bdd import ALL, EMPTY
from netemu.analysis.behaviour import End, behaviour
from netemu.analysis.node import space_of
from netemu.analysis.reach import Reach
from netemu.analysis.space import FREE, TWIN, Space
from netemu.errors import UsageError
from netemu.netfilter.xtables.model import Ruleset
from netemu.netfilter.xtables.space import Field
from netemu.sim.spec import NamespaceSpec

DESTINATION = (Field.DESTINATION, Field.DESTINATION_PORT)


class Ending(Struct, frozen=True, kw_only=True):
    """What may become of the packet."""

    verdict: str
    how: str
    """Of ACCEPT: in (delivered), forward, local (sent) or loop (sent to itself); of REJECT its
    type."""
    destination: tuple[int, int]
    """Address and port when it gets through; of what does not, as it came."""
    source_changed: bool


def endings(
    rules: Ruleset, node: NamespaceSpec, device: str, packet: Mapping[Field, int]
) -> dict[Ending, Fraction]:
    """Return the ends of a packet that enters by a device, or is sent by the node if it is empty.

    Raises UsageError where an end depends on what is not known, or the rules are too many.
    """
    space = space_of([rules], node)
    reach = Reach(rules, space)
    if reach.path.coarse:
        raise UsageError("the rules that translate are too many to be reasoned about exactly")
    fields = {**dict.fromkeys(Field, 0), **packet, Field.IN_DEVICE: space.index[device]}
    del fields[Field.OUT_DEVICE]  # whichever leads to where the packet goes
    found: dict[Ending, Fraction] = {}
    for end, packets in behaviour(reach).items():
        for twins, share in _shares(space, _at(space, packets, fields)):
            ending = _ending(space, end, twins, fields)
            if not _comes_back(space, ending):
                found[ending] = found.get(ending, Fraction(0)) + share
    return found


def _at(space: Space, packets: int, fields: Mapping[Field, int]) -> int:
    """Return what is left of a set where the packet is given: draws, and what became of it."""
    bits: dict[int, int] = {}
    for field, value in fields.items():
        run = space.base[field]
        for place, literal in enumerate(reversed(run)):
            bits[literal >> 1] = value >> place & 1
    left = space.diagram.under(packets, bits)
    return space.diagram.forget(left, lambda variable: variable < FREE)


def _shares(space: Space, packets: int) -> Iterator[tuple[int, Fraction]]:
    """Yield what became of the packet on each way through the draws, and how probable that is."""
    stack = [(packets, Fraction(1))]
    while stack:
        left, share = stack.pop()
        if left == EMPTY or not share:
            continue
        variable, low, high = space.diagram.branches(left) if left != ALL else (TWIN, 0, 0)
        if variable >= TWIN:
            yield left, share
            continue
        weight = _weight(space, variable)
        stack += [(low, share * (1 - weight)), (high, share * weight)]


def _weight(space: Space, variable: int) -> Fraction:
    """Return how probable it is that a draw hits."""
    found = space.unknowables[variable]
    if found.weight is not None:
        return found.weight
    if found.text.startswith("-m recent "):
        return Fraction(int("! --" in found.text))
    raise UsageError(f"what becomes of the packet depends on `{found.text}`, which no rule tells")


def _ending(space: Space, end: End, twins: int, fields: Mapping[Field, int]) -> Ending:
    changed = dict(end.changed)
    bits = space.diagram.pick(twins)

    def value(field: Field) -> int:
        found = 0
        for literal in changed.get(field, ()):
            bit = literal + 2 if literal < 0 else bits.get(literal >> 1, 0) ^ (literal & 1)
            found = found << 1 | bit
        return found if field in changed else fields[field]

    address, port = map(value, DESTINATION)
    return Ending(
        verdict=end.verdict,
        how=end.how,
        destination=(address, port),
        source_changed=Field.SOURCE in changed,
    )


def _comes_back(space: Space, ending: Ending) -> bool:
    """Return whether it is only the first half: what a node sends to itself comes in again."""
    if ending.how != "local":
        return False
    width = len(space.base[Field.DESTINATION])
    address = ending.destination[0]
    return any(
        address >> (width - length) == int.from_bytes(prefix, "big") >> (width - length)
        for prefix, length in space.locals or ()
    )
