"""Membership decides who is let in and who gets a tag (asked of Linux 6.1 in tests/kernel)."""

from __future__ import annotations

import pytest

from netemu.link.bridge_vlan import VlanGroup, allowed_egress, allowed_ingress, handle_vlan
from netemu.sim.spec import BridgeVlanSpec
from netemu.skb import Fate, Skb


def group() -> VlanGroup:
    found = VlanGroup()
    found.load(
        [
            BridgeVlanSpec(device="p", vid=10, pvid=True, untagged=True),
            BridgeVlanSpec(device="p", vid=20),
        ]
    )
    return found


def frame(tci: int | None, proto: int = 0x8100) -> Skb:
    skb = Skb(bytes(46), protocol=0x88B5, fate=Fate(packet_id=1))
    skb.mac_header = bytes(12) + b"\x88\xb5"
    skb.vlan_tci, skb.vlan_proto = tci, proto
    return skb


@pytest.mark.parametrize(
    ("tci", "vid", "inside"),
    [(None, 10, 10), (0x6000, 10, 0x600A), (10, 10, 10), (20, 20, 20), (30, None, 30)],
)
def test_what_is_let_in(tci: int | None, vid: int | None, inside: int) -> None:
    """Untagged frames belong to the PVID; a priority stays; foreign VLANs are refused."""
    skb = frame(tci)
    assert (allowed_ingress(group(), 0x8100, skb), skb.vlan_tci) == (vid, inside)


def test_a_tag_of_the_other_kind_is_payload() -> None:
    """An 802.1ad tag on an 802.1Q bridge stays in the frame, which then counts as untagged."""
    skb = frame(20, 0x88A8)
    assert allowed_ingress(group(), 0x8100, skb) == 10
    assert (skb.mac_header[12:14], bytes(skb.data[:4])) == (b"\x88\xa8", b"\x00\x14\x88\xb5")


def test_without_pvid_untagged_frames_are_refused() -> None:
    """The PVID is no longer that VLAN once it is added without the flag."""
    found = group()
    found.add(10)
    assert allowed_ingress(found, 0x8100, frame(None)) is None


def test_who_gets_a_tag() -> None:
    """An untagged member gets none; a frame that was never classified passes as it is."""
    for tci, allowed, after in ((10, True, None), (20, True, 20), (30, False, 30)):
        skb = frame(tci)
        skb.vlan_filtered = True
        assert allowed_egress(group(), skb) == allowed
        assert (handle_vlan(group(), skb), skb.vlan_tci) == (allowed, after)
    assert allowed_egress(VlanGroup(), frame(30))
    assert handle_vlan(VlanGroup(), frame(30))
