"""VLANs of a bridge: who is a member, what untagged frames belong to, who gets tags.

Kernel: net/bridge/br_vlan.c.

    in by a port                                   out by a port
      untagged --> the port's PVID, or dropped       VLAN not the port's --> not sent
      tagged   --> VLAN not the port's: dropped      untagged member     --> tag taken off

Theory of operation: inside of a filtering bridge every frame has a tag, in `skb.vlan_tci`. The
bridge device has memberships of its own, for what goes up to the node's stack and comes from it.
Without filtering nobody looks at tags, and everything is learnt in VLAN 0.
"""

from __future__ import annotations

from collections.abc import Iterable

from netemu.link.device import VLAN_VID_MASK, skb_vlan_push_inside, skb_vlan_untag
from netemu.sim.spec import BridgeVlanSpec
from netemu.skb import ETH_P_8021Q, Skb

DEFAULT_PVID = 1
"""The VLAN of bridge and ports of which nothing else is said (br_vlan_init)."""


class VlanGroup:
    """The VLANs of one port, or of the bridge itself (struct net_bridge_vlan_group)."""

    __slots__ = ("pvid", "untagged", "vids")

    def __init__(self) -> None:
        """Start without a VLAN."""
        self.pvid = 0
        """0: untagged frames have no VLAN."""
        self.vids: list[int] = []
        self.untagged: set[int] = set()

    def add(self, vid: int, *, pvid: bool = False, untagged: bool = False) -> None:
        """Become a member of a VLAN."""
        if vid not in self.vids:
            self.vids.append(vid)
        if untagged:
            self.untagged.add(vid)
        else:
            self.untagged.discard(vid)
        if pvid:
            self.pvid = vid
        elif self.pvid == vid:
            self.pvid = 0

    def load(self, specs: Iterable[BridgeVlanSpec]) -> None:
        """Take the memberships of a listing."""
        for spec in specs:
            self.add(spec.vid, pvid=spec.pvid, untagged=spec.untagged)


def allowed_ingress(group: VlanGroup, protocol: int, skb: Skb) -> int | None:
    """Put a frame into its VLAN and return that; None when it must go (br_allowed_ingress).

    Args:
        group: memberships of where it came in.
        protocol: ethertype of the bridge's tags.
        skb: the frame; untagged, it gets the tag of the PVID.

    """
    skb.vlan_filtered = True
    if skb.vlan_tci is None and skb.protocol == protocol and not skb_vlan_untag(skb):
        return None
    if skb.vlan_tci is not None and skb.vlan_proto != protocol:
        # A tag of the other kind is payload here.
        skb_vlan_push_inside(skb)
    vid = 0 if skb.vlan_tci is None else skb.vlan_tci & VLAN_VID_MASK
    if vid:
        return vid if vid in group.vids else None
    if not group.pvid:
        return None
    # A tag of VLAN 0 only tells a priority, which stays.
    skb.vlan_tci = (skb.vlan_tci or 0) | group.pvid
    skb.vlan_proto = protocol
    return group.pvid


def allowed_egress(group: VlanGroup, skb: Skb) -> bool:
    """Return whether a frame may leave by the member `group` (br_allowed_egress)."""
    if not skb.vlan_filtered:
        return True
    vid = 0 if skb.vlan_tci is None else skb.vlan_tci & VLAN_VID_MASK
    return vid in group.vids


def handle_vlan(group: VlanGroup, skb: Skb) -> bool:
    """Take the tag off where the frame leaves untagged; False when it must go (br_handle_vlan)."""
    if not skb.vlan_filtered:
        return True
    vid = 0 if skb.vlan_tci is None else skb.vlan_tci & VLAN_VID_MASK
    if vid not in group.vids:
        return False
    if vid in group.untagged:
        skb.vlan_tci = None
        skb.vlan_proto = ETH_P_8021Q
    return True
