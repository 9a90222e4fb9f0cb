"""Where connections can begin: what an example of a later packet needs before it.

Kernel: none.
"""

from __future__ import annotations

import functools

from netemu.analysis.domain import CONNECTION
from netemu.analysis.reach import Reach
from netemu.analysis.reader import Reader
from netemu.netfilter.xtables.space import CtState, Field

_OF_ONE_PACKET = (*CONNECTION, Field.TCP_FLAGS, Field.LENGTH, Field.TTL, Field.TOS, Field.MARK)
"""What differs between the packets of a connection."""


class Opened:
    """The first packets of connections that all tables let through."""

    def __init__(self, reach: Reach) -> None:
        """Nothing is made before somebody asks."""
        self._reach = reach
        self._read = Reader(reach.space, reach.space.start, "", 0)

    @functools.cached_property
    def first(self) -> int:
        """Return these packets as they enter."""
        accepted = self._read.either(*(self._reach.accepted(way) for way in _WAYS))
        return self._read.both(accepted, self._read.masked(Field.CT_STATE, CtState.NEW))

    @functools.cached_property
    def later(self) -> int:
        """Return packets that go the way of such a one, whatever their own flags and state."""
        space = self._reach.space
        gone = {literal >> 1 for field in _OF_ONE_PACKET for literal in space.base[field]}
        return self._read.both(space.diagram.drop(self.first, gone), self._untranslated)

    @functools.cached_property
    def answers(self) -> int:
        """Return packets that go back between the devices that such a one went between."""
        read = self._read
        meet = self._reach.space.diagram.meet
        here = read.local(Field.DESTINATION)
        numbers = range(len(self._reach.space.devices))
        enters = [read.masked(Field.IN_DEVICE, number) for number in numbers]
        leaves = [read.masked(Field.OUT_DEVICE, number) for number in numbers]
        found = []
        for came in numbers:
            coming = read.both(self.first, enters[came])
            if meet(coming, here):
                found.append(read.both(enters[_NODE], leaves[came]))
            passing = read.both(coming, read.outside(here))
            back = here if came == _NODE else read.both(leaves[came], read.outside(here))
            found += [
                read.both(enters[went], back) for went in numbers if meet(passing, leaves[went])
            ]
        return read.both(read.either(*found), self._untranslated)

    @property
    def _untranslated(self) -> int:
        read = self._read
        return read.both(*(read.masked(field, 0) for field in (Field.CT_SNAT, Field.CT_DNAT)))


_WAYS = ("in", "forward", "local")

_NODE = 0
"""In place of a device: the node itself sends it."""
