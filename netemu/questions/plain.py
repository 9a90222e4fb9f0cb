"""What classes of packets leave unsaid: addresses that no host has, devices that lead nowhere."""

from __future__ import annotations

from functools import partial

from netemu.analysis.bdd import ALL
from netemu.analysis.reader import Reader
from netemu.analysis.space import Space
from netemu.analysis.terms import Axis, Term, simplest
from netemu.analysis.wording import axis_of
from netemu.netfilter.hook import Family
from netemu.netfilter.xtables.space import Field
from netemu.wire.ipv4 import Protocol

ENUMERATED = (Field.PROTOCOL, Field.CT_STATE, Field.IN_DEVICE, Field.OUT_DEVICE)
"""Fields whose values are said one by one."""

MOST_SPANS = 64
"""Addresses in more pieces than these are said as they are."""

_BLOCKS = ((0, 8), (127 << 24, 8), (224 << 24, 3))
"""Addresses that no packet between hosts has, as (value, length)."""

_BLOCKS6 = ((0, 8), (0xFF << 120, 8))


def martians(read: Reader) -> int:
    """Return packets from outside with a source that no host has, or to loopback."""
    outside = read.masked(Field.IN_DEVICE, 0) ^ 1
    loopback = (
        read.masked(Field.DESTINATION, 1)
        if read.family == Family.IPV6
        else read.masked(Field.DESTINATION, 127 << 24, 255 << 24)
    )
    return read.both(outside, read.either(*_blocks(read, Field.SOURCE), loopback))


def plain_packets(read: Reader) -> int:
    """Return packets between hosts: whole, not marked, no broadcast, multicast, martian address."""
    bad = [read.broadcast(Field.DESTINATION), read.masked(Field.FRAGMENT, 1)]
    bad += [read.outside(read.masked(name, 0)) for name in (Field.MARK, Field.CONNMARK)]
    for name in (Field.SOURCE, Field.DESTINATION):
        bad += _blocks(read, name)
    return read.outside(read.either(*bad))


def _blocks(read: Reader, name: Field) -> list[int]:
    bits = 128 if read.family == Family.IPV6 else 32
    return [
        read.masked(name, value, ((1 << length) - 1) << (bits - length))
        for value, length in (_BLOCKS6 if read.family == Family.IPV6 else _BLOCKS)
    ]


def readable(space: Space, term: Term, inside: int) -> dict[Axis, int]:
    """Say a term in few pieces; `inside` is what of it there really is.

    Addresses that no host has may be among those said, and the node's own ones if none is meant.
    """
    read = Reader(space, space.start, "", 0)
    diagram = space.diagram
    shown = dict(term)
    icmp = read.masked(Field.PROTOCOL, Protocol.ICMP)
    # Few types open a connection, so it is shorter to say which ones.
    types = (Field.DESTINATION_PORT,) if diagram.within(inside, icmp) else ()
    for name in (*ENUMERATED, *types):
        axis = axis_of(space, name)
        if axis in shown:
            real = diagram.forget(inside, partial(outside_of, axis))
            shown[axis] = diagram.both(shown[axis], real)
    for name in (Field.SOURCE, Field.DESTINATION):
        axis = axis_of(space, name)
        if axis not in shown:
            continue
        spare = read.either(*_blocks(read, name))
        if space.locals is not None:
            own = read.local(name)
            spare = read.either(spare, read.broadcast(name))
            spare = spare if diagram.meet(inside, own) else read.either(spare, own)
        few = simplest(diagram, shown[axis], spare, axis, MOST_SPANS)
        shown[axis] = shown[axis] if few is None else few
    return {axis: values for axis, values in shown.items() if values != ALL}


def outside_of(axis: Axis, variable: int) -> bool:
    """Return whether a variable is none of the field's."""
    return variable not in axis


def idle_devices(read: Reader) -> int:
    """Return packets that come in by lo, or come in and leave by no device: there are none."""
    nowhere = read.either(read.masked(Field.OUT_DEVICE, 0), read.device(Field.OUT_DEVICE, "lo"))
    incoming = read.outside(read.masked(Field.IN_DEVICE, 0))
    return read.either(read.device(Field.IN_DEVICE, "lo"), read.both(incoming, nowhere))
