"""One port of a bridge: its state, its flags, and what it lets through.

Kernel: net/bridge/br_private.h (struct net_bridge_port), net/bridge/br_if.c.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum

from msgspec import Struct, field

from netemu.errors import InputError
from netemu.link.bridge_vlan import VlanGroup, allowed_egress
from netemu.skb import Device, Skb


class PortState(IntEnum):
    """BR_STATE_* (include/uapi/linux/if_bridge.h)."""

    DISABLED = 0
    LISTENING = 1
    LEARNING = 2
    FORWARDING = 3
    BLOCKING = 4


_REFUSED = (
    "mcast_to_unicast",
    "proxy_arp",
    "proxy_arp_wifi",
    "neigh_suppress",
    "vlan_tunnel",
    "mab",
)


class BridgePort(Struct, kw_only=True, eq=False):
    """A device enslaved to a bridge, with the options of `ip -d link` (IFLA_BRPORT_*)."""

    device: Device
    configured_state: PortState | None = None
    """What a snapshot says; None: forwarding while bridge and port are up (STP off)."""
    hairpin: bool = False
    """A frame may leave by the port that it came in by."""
    isolated: bool = False
    """Talks only to ports that are not isolated."""
    learning: bool = True
    locked: bool = False
    """Takes frames only from addresses that the FDB knows behind this port."""
    flood: bool = True
    mcast_flood: bool = True
    bcast_flood: bool = True
    group_fwd_mask: int = 0
    fast_leave: bool = False
    """A host that leaves a group takes the port with it at once."""
    multicast_router: int = 1
    """0: no router is behind it, 1: one that asks, 2: always one."""
    vlans: VlanGroup = field(default_factory=VlanGroup)

    @property
    def state(self) -> PortState:
        """The port's present state."""
        if self.configured_state is not None:
            return self.configured_state
        bridge = self.device.master
        up = bridge is not None and bridge.up and self.device.up and self.device.carrier
        return PortState.FORWARDING if up else PortState.DISABLED


def port_from_options(device: Device, options: Mapping[str, int]) -> BridgePort:
    """Make the port that the options of `info_slave_data` describe.

    Raises InputError for an option that changes what the port does and is not emulated.
    """
    for name in _REFUSED:
        if options.get(name):
            message = (
                f"bridge port {device.name} has {name} on, which netemu does not emulate; "
                f"take the snapshot with it off"
            )
            raise InputError(message)
    state = options.get("state")
    return BridgePort(
        device=device,
        configured_state=None if state is None else PortState(state),
        hairpin=bool(options.get("hairpin", 0)),
        isolated=bool(options.get("isolated", 0)),
        learning=bool(options.get("learning", 1)),
        locked=bool(options.get("locked", 0)),
        flood=bool(options.get("flood", 1)),
        mcast_flood=bool(options.get("mcast_flood", 1)),
        bcast_flood=bool(options.get("bcast_flood", 1)),
        group_fwd_mask=options.get("group_fwd_mask", 0),
        fast_leave=bool(options.get("fastleave", 0)),
        multicast_router=options.get("multicast_router", options.get("mcast_router", 1)),
    )


def br_port_get(device: Device | None) -> BridgePort | None:
    """Return the port record of a device, None when it is no bridge port."""
    port = None if device is None else device.bridge_port
    assert port is None or isinstance(port, BridgePort)
    return port


def should_deliver(port: BridgePort, skb: Skb) -> bool:
    """Return whether the port may send what came in by `skb.device`."""
    if skb.device is port.device and not port.hairpin:
        return False
    if port.state != PortState.FORWARDING or not allowed_egress(port.vlans, skb):
        return False
    source = br_port_get(skb.device)
    return not (port.isolated and source is not None and source.isolated)
