"""A bridge sends a frame on: to one port, or a copy to each.

Kernel: net/bridge/br_forward.c.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from netemu.events import BridgeForwarded
from netemu.link.bridge_port import BridgePort, should_deliver
from netemu.link.bridge_vlan import allowed_egress, handle_vlan
from netemu.link.device import dev_queue_xmit, is_skb_forwardable
from netemu.net import Net, kfree_skb_reason, nf_hook
from netemu.netfilter.hook import Family, Hook
from netemu.skb import Device, Skb


class FrameKind(Enum):
    """By which flag a port decides over a flooded frame (enum br_pkt_type)."""

    UNICAST = "flood"
    MULTICAST = "mcast_flood"
    BROADCAST = "bcast_flood"


def br_flood(  # noqa: PLR0913 - the kernel's own parameters
    net: Net,
    bridge: Device,
    ports: Sequence[BridgePort],
    skb: Skb,
    kind: FrameKind,
    *,
    local_rcv: bool,
    local_orig: bool,
) -> None:
    """Send a frame to every port that takes it: the last one gets the original.

    With `local_rcv` the caller keeps the original, so that all ports get copies.
    """
    targets = [port for port in ports if _takes(port, kind, skb, bridge)]
    if net.sink is not None:
        names = tuple(port.device.name for port in targets)
        how = "broadcast" if kind is FrameKind.BROADCAST else "flood"
        if local_rcv:
            names = (bridge.name, *names)
        net.tell(skb, BridgeForwarded(bridge=bridge.name, how=how, devices=names))
    copies = targets if local_rcv else targets[:-1]
    for port in copies:
        _forward_to(net, port, skb.clone(), local_orig=local_orig)
    if local_rcv:
        return
    if targets:
        _forward_to(net, targets[-1], skb, local_orig=local_orig)
    else:
        kfree_skb_reason(net, skb, "NO_TX_TARGET", f"no port of {bridge.name} takes it")


def br_multicast_flood(
    net: Net,
    bridge: Device,
    ports: Sequence[BridgePort],
    skb: Skb,
    *,
    local_rcv: bool,
    local_orig: bool,
) -> None:
    """Send a multicast frame to `ports`, its members and routers, each at most once."""
    targets = [port for port in ports if should_deliver(port, skb)]
    if net.sink is not None:
        names = tuple(port.device.name for port in targets)
        if local_rcv:
            names = (bridge.name, *names)
        net.tell(skb, BridgeForwarded(bridge=bridge.name, how="mdb", devices=names))
    for port in targets if local_rcv else targets[:-1]:
        _forward_to(net, port, skb.clone(), local_orig=local_orig)
    if local_rcv:
        return
    if targets:
        _forward_to(net, targets[-1], skb, local_orig=local_orig)
    else:
        kfree_skb_reason(net, skb, "NO_TX_TARGET", "nobody is a member of the group")


def _takes(port: BridgePort, kind: FrameKind, skb: Skb, bridge: Device) -> bool:
    if kind is FrameKind.UNICAST:
        wanted = port.flood
    elif skb.device is bridge:
        # What the node itself multicasts or broadcasts goes everywhere.
        wanted = True
    else:
        wanted = port.mcast_flood if kind is FrameKind.MULTICAST else port.bcast_flood
    return wanted and should_deliver(port, skb)


def br_forward(
    net: Net,
    bridge: Device,
    port: BridgePort | None,
    skb: Skb,
    *,
    local_rcv: bool,
    local_orig: bool,
) -> None:
    """Send a frame to the port that the FDB names, a copy if the caller keeps the original."""
    if port is not None and should_deliver(port, skb):
        if net.sink is not None:
            names = (port.device.name,)
            net.tell(skb, BridgeForwarded(bridge=bridge.name, how="fdb", devices=names))
        out = skb.clone() if local_rcv else skb
        _forward_to(net, port, out, local_orig=local_orig)
    elif not local_rcv:
        kfree_skb_reason(net, skb, "NOT_SPECIFIED", _why_not(bridge, port, skb))


def _why_not(bridge: Device, port: BridgePort | None, skb: Skb) -> str:
    if port is None:
        return f"the address is {bridge.name}'s own"
    name = port.device.name
    if skb.device is port.device and not port.hairpin:
        return f"it came in by {name}, which has no hairpin mode"
    if not allowed_egress(port.vlans, skb):
        return f"port {name} is not in its VLAN"
    return f"port {name} is {port.state.name.lower()} or isolated"


def _forward_to(net: Net, port: BridgePort, skb: Skb, *, local_orig: bool) -> None:
    """Run the bridge hooks and send (__br_forward)."""
    handle_vlan(port.vlans, skb)
    in_device = skb.device
    skb.device = port.device

    def finish(skb: Skb) -> None:
        br_forward_finish(net, skb)

    if local_orig:
        nf_hook(net, Family.BRIDGE, Hook.OUTPUT, skb, None, port.device, finish)
    else:
        nf_hook(net, Family.BRIDGE, Hook.FORWARD, skb, in_device, port.device, finish)


def br_forward_finish(net: Net, skb: Skb) -> None:
    """Take a frame that FORWARD or OUTPUT let pass through POSTROUTING."""

    def push(skb: Skb) -> None:
        br_dev_queue_push_xmit(net, skb)

    nf_hook(net, Family.BRIDGE, Hook.POSTROUTING, skb, None, skb.device, push)


def br_dev_queue_push_xmit(net: Net, skb: Skb) -> None:
    """Send a frame out of the port `skb.device`."""
    device = skb.device
    assert device is not None
    if not is_skb_forwardable(device, skb):
        reason = "PKT_TOO_BIG" if device.up else "DEV_READY"
        kfree_skb_reason(net, skb, reason, f"MTU of {device.name} is {device.mtu}")
        return
    # Routes end here: either a stand-in for the hooks or one that NAT needed (br_drop_fake_rtable).
    skb.dst = None
    dev_queue_xmit(net, skb)
