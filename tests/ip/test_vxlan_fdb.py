"""The table of a VXLAN device: learning, moving, ageing."""

from __future__ import annotations

import pytest

from netemu.clock import NSEC_PER_SEC, Clock
from netemu.ip.vxlan_fdb import Remote, VxlanFdb
from netemu.skb import ZERO_MAC

BOB, CAROL = bytes.fromhex("020000000003"), bytes.fromhex("020000000004")
ONE, TWO = bytes((192, 0, 2, 1)), bytes((192, 0, 2, 2))


def test_a_mac_is_learnt_and_moves() -> None:
    """A set entry does not move, and its frames from elsewhere are refused."""
    fdb = VxlanFdb(Clock(), 300 * NSEC_PER_SEC)
    fdb.append(CAROL, Remote(address=ONE), "permanent")
    assert [fdb.learn(BOB, ONE), fdb.learn(BOB, ONE), fdb.learn(BOB, TWO)] == [
        (True, b""),
        (True, b""),
        (True, ONE),
    ]
    assert [fdb.learn(CAROL, TWO), fdb.learn(CAROL, ONE)] == [(False, b""), (True, b"")]


def test_unknown_macs_go_where_mac_zero_says() -> None:
    """To every host of its entry, in order."""
    fdb = VxlanFdb(Clock(), 0)
    assert fdb.find_for_sending(BOB) is None
    for host in (TWO, ONE, TWO):
        fdb.append(ZERO_MAC, Remote(address=host), "permanent")
    found = fdb.find_for_sending(BOB)
    assert found is not None
    assert [remote.address for remote in found.remotes] == [TWO, ONE]
    assert fdb.text("vx0").splitlines() == [
        "00:00:00:00:00:00 dev vx0 dst 192.0.2.2 self permanent",
        "00:00:00:00:00:00 dev vx0 dst 192.0.2.1 self permanent",
    ]


@pytest.mark.parametrize(("sending_refreshes", "kept"), [(False, False), (True, True)])
def test_what_keeps_an_entry_alive(sending_refreshes: bool, kept: bool) -> None:
    """Since Linux 6.14 only what is heard from the MAC."""
    clock = Clock()
    fdb = VxlanFdb(clock, 15 * NSEC_PER_SEC, sending_refreshes=sending_refreshes)
    fdb.learn(BOB, ONE)
    clock.run_until(14 * NSEC_PER_SEC)
    fdb.find_for_sending(BOB)
    clock.run_until(16 * NSEC_PER_SEC)
    assert (fdb.find(BOB) is not None) is kept
    clock.run_until(40 * NSEC_PER_SEC)
    assert fdb.find(BOB) is None
