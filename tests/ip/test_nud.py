"""States of a neighbour and the size of what waits."""

from __future__ import annotations

from netemu.ip.nud import CONNECTED, IN_TIMER, SENDING, VALID, Neighbour, Nud
from netemu.link.port import Port
from netemu.net import Net


def test_sets_of_states_are_the_kernels() -> None:
    """NUD_CONNECTED, NUD_VALID and NUD_IN_TIMER of include/net/neighbour.h."""
    assert CONNECTED == Nud.PERMANENT | Nud.NOARP | Nud.REACHABLE
    assert VALID == CONNECTED | Nud.PROBE | Nud.STALE | Nud.DELAY
    assert IN_TIMER == Nud.INCOMPLETE | Nud.REACHABLE | Nud.DELAY | Nud.PROBE
    assert SENDING == CONNECTED | Nud.DELAY | Nud.PROBE


def test_a_new_entry_knows_nothing() -> None:
    """It is in state NONE with an empty queue."""
    port = Port(Net(), name="eth0", ifindex=2, mac=bytes(6))
    entry = Neighbour(bytes(4), port, 7)
    assert (entry.state, entry.mac, len(entry.queue)) == (Nud.NONE, bytes(6), 0)
    assert (entry.confirmed_ns, entry.used_ns, entry.updated_ns) == (7, 7, 7)
