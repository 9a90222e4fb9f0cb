"""Macvlan devices: several MACs, each with a device of its own, on one device below.

Kernel: drivers/net/macvlan.c.

    frame for a macvlan's MAC -- eth0 --> that macvlan
    broadcast ------------------ eth0 --> every macvlan, and eth0's own stack
    bridge mode: from one macvlan to another one straight; vepa: out by eth0 and back

Theory of operation: the device below offers each frame to `macvlan_handle_frame`. Macvlans stand in
256 buckets by a hash of their MACs, and broadcasts go through them in that order. A broadcast is
put off until the work at hand is done, as the kernel's worker does it. The host itself does not
reach its macvlans: what it sends goes out by the device below.

Differs from Linux: of multicast, macvlans take all-hosts (224.0.0.1) only, as group memberships are
not emulated; fragments are not put together before a broadcast.
"""

from __future__ import annotations

from netemu.events import FrameReceived, FrameSent
from netemu.hashing import hash_64
from netemu.link.device import (
    dev_queue_xmit,
    eth_skb_pkt_type,
    eth_type_trans,
    frame_of,
    is_skb_forwardable,
    netif_receive_skb,
    netif_rx,
)
from netemu.link.veth import skb_scrub_packet
from netemu.net import Net, kfree_skb_reason
from netemu.sim.spec import MacvlanSpec
from netemu.skb import BROADCAST_MAC, Device, PacketType, Skb
from netemu.wire.address import is_multicast_mac

HASH_BITS = 8
"""MACVLAN_HASH_BITS."""

ALL_HOSTS_MAC = bytes.fromhex("01005e000001")

PRIVATE, VEPA, BRIDGE, PASSTHRU = "private", "vepa", "bridge", "passthru"
"""Words of ip(8) for MACVLAN_MODE_*."""


class Macvlan(Device):
    """One macvlan of the device `lower`."""

    __slots__ = ("lower", "net", "port", "spec")

    def __init__(  # noqa: PLR0913 - the properties of a device
        self,
        net: Net,
        spec: MacvlanSpec,
        *,
        name: str,
        ifindex: int,
        mac: bytes,
        mtu: int = 1500,
        up: bool = True,
        noarp: bool = False,
    ) -> None:
        """Make the device without anything below it and register it in `net`."""
        super().__init__(
            name=name, ifindex=ifindex, mac=mac, mtu=mtu, up=up, kind="macvlan", noarp=noarp
        )
        self.net = net
        self.spec = spec
        self.lower: Device | None = None
        self.port: MacvlanPort | None = None
        net.devices[name] = self

    def attach(self, lower: Device, lower_net: Net) -> None:
        """Stand above `lower`, a device of `lower_net`."""
        self.lower = lower
        self.hard_header_len = lower.hard_header_len
        self.port = lower_net.generic(MacvlanPorts).of(lower)
        self.port.add(self)

    def xmit(self, skb: Skb) -> None:
        """Send by the device below, or to a sister straight (macvlan_start_xmit)."""
        net, lower, port = self.net, self.lower, self.port
        if net.sink is not None:
            net.tell(skb, FrameSent(device=self.name, frame=frame_of(skb), port=False))
        if lower is None or port is None:
            kfree_skb_reason(net, skb, "DEV_READY", f"{self.name} has no device below it")
            return
        if self.spec.mode == BRIDGE:
            destination = skb.mac_header[:6]
            if is_multicast_mac(destination):
                port.broadcast(skb, self, {BRIDGE})
            else:
                sister = port.find(destination)
                if sister is not None and sister.spec.mode == BRIDGE:
                    # By the device below, where taps may listen.
                    _dev_forward_skb(net, skb, lower, port.net)
                    return
        skb.device = lower
        dev_queue_xmit(port.net, skb)


class MacvlanPort:
    """What a device below knows of its macvlans (struct macvlan_port)."""

    __slots__ = ("_devices", "net")

    def __init__(self, net: Net) -> None:
        """Start without macvlans; `net` is the device's namespace."""
        self.net = net
        self._devices: list[Macvlan] = []

    def add(self, device: Macvlan) -> None:
        """Put a macvlan before the others of its bucket."""
        self._devices.insert(0, device)
        self._devices.sort(key=lambda each: macvlan_eth_hash(each.mac))

    def find(self, mac: bytes) -> Macvlan | None:
        """Return the macvlan of a MAC; one that is down has no place here."""
        return next((each for each in self._devices if each.mac == mac and each.up), None)

    def handle_frame(self, skb: Skb) -> bool:
        """Take a frame of the device below; False leaves it to that (macvlan_handle_frame)."""
        if skb.pkt_type == PacketType.LOOPBACK:
            return False
        destination = skb.mac_header[:6]
        if is_multicast_mac(destination):
            return self._handle_group(skb)
        passthru = [each for each in self._devices if each.spec.mode == PASSTHRU]
        device = passthru[0] if passthru else self.find(destination)
        if device is None:
            return False
        if not device.up:
            kfree_skb_reason(device.net, skb, "DEV_READY", f"{device.name} is down")
            return True
        skb.device = device
        skb.pkt_type = PacketType.HOST
        _receive(device, skb)
        return True

    def _handle_group(self, skb: Skb) -> bool:
        """Give copies of a broadcast to the macvlans; the device below takes it, too."""
        source = self.find(skb.mac_header[6:12])
        if source is not None and source.spec.mode not in {VEPA, BRIDGE}:
            # It comes back to the one that sent it.
            _to_one(source, skb, local=False)
            return True
        copy = skb.clone()
        self.net.clock.call_soon(lambda: self._process_broadcast(copy, source))
        return False

    def _process_broadcast(self, skb: Skb, source: Macvlan | None) -> None:
        """Who gets a broadcast depends on where it came from (macvlan_process_broadcast)."""
        if source is None:
            modes = {PRIVATE, VEPA, BRIDGE, PASSTHRU}
        elif source.spec.mode == VEPA:
            modes = {VEPA, BRIDGE}
        else:
            modes = {VEPA}  # sisters in bridge mode saw it on the way out
        self.broadcast(skb, source, modes, local=False)

    def broadcast(
        self, skb: Skb, source: Macvlan | None, modes: set[str], *, local: bool = True
    ) -> None:
        """Give a copy to every macvlan of a mode but `source` (macvlan_broadcast)."""
        for device in self._devices:
            if device is source or device.spec.mode not in modes or not device.up:
                continue
            if skb.mac_header[:6] in {BROADCAST_MAC, ALL_HOSTS_MAC}:
                _to_one(device, skb.clone(), local=local)


class MacvlanPorts:
    """The devices of a namespace that macvlans stand above."""

    __slots__ = ("_net", "_ports")

    def __init__(self, net: Net) -> None:
        """Start without any."""
        self._net = net
        self._ports: dict[Device, MacvlanPort] = {}

    def of(self, device: Device) -> MacvlanPort:
        """Return what `device` knows of its macvlans, which makes it hand frames up."""
        port = self._ports.get(device)
        if port is None:
            port = self._ports[device] = MacvlanPort(self._net)
            device.rx_handler = port.handle_frame
        return port


def macvlan_eth_hash(mac: bytes) -> int:
    """Return the bucket of a MAC."""
    return hash_64(int.from_bytes(mac, "little") << 16, HASH_BITS)


def _to_one(device: Macvlan, skb: Skb, *, local: bool) -> None:
    """Hand a copy up; one from a sister loses what its namespace knew (macvlan_broadcast_one)."""
    if local:
        sender = skb.device
        assert isinstance(sender, Macvlan)
        _dev_forward_skb(sender.net, skb, device, device.net)
        return
    skb.device = device
    skb.pkt_type = eth_skb_pkt_type(skb.mac_header[:6], device)
    netif_rx(device.net, skb)


def _dev_forward_skb(net: Net, skb: Skb, device: Device, device_net: Net) -> None:
    """Let `device` receive what a device of `net` sent (dev_forward_skb)."""
    if not is_skb_forwardable(device, skb):
        reason = "PKT_TOO_BIG" if device.up else "DEV_READY"
        kfree_skb_reason(net, skb, reason, f"MTU of {device.name} is {device.mtu}")
        return
    skb_scrub_packet(skb, crosses_namespace=device_net is not net)
    skb.priority = 0
    eth_type_trans(skb, device)
    netif_rx(device_net, skb)


def _receive(device: Macvlan, skb: Skb) -> None:
    net = device.net
    if net.sink is not None:
        event = FrameReceived(
            device=device.name, frame=frame_of(skb), packet_type=skb.pkt_type.name
        )
        net.tell(skb, event)
    netif_receive_skb(net, skb)
