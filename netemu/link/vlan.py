"""The 802.1Q device: frames of one VLAN of the device below, without their tag.

Kernel: net/8021q/vlan_core.c (vlan_do_receive), vlan_dev.c (vlan_dev_hard_start_xmit).

    eth0.10  <-- tag 10 taken off --  eth0  <-- frame with tag 10
    eth0.10  ------ tag 10 put on --> eth0  --> frame with tag 10

A frame is offered to the VLAN devices before the bridge that the device below belongs to, so a VLAN
with a device of its own is not bridged.
"""

from __future__ import annotations

from netemu.events import FrameReceived, FrameSent
from netemu.link.device import VLAN_HLEN, dev_queue_xmit, frame_of
from netemu.net import Net, kfree_skb_reason
from netemu.sim.spec import VlanSpec
from netemu.skb import Device, PacketType, Skb
from netemu.wire.ethernet import insert_tag
from netemu.wire.fields import get16

PRIORITY_SHIFT = 13
"""Place of the priority in a tag (VLAN_PRIO_SHIFT)."""


class Vlan(Device):
    """One VLAN of the device `lower`."""

    __slots__ = ("_egress_qos", "_ingress_qos", "lower", "net", "spec")

    tags_in_metadata = False

    def __init__(  # noqa: PLR0913 - the properties of a device
        self,
        net: Net,
        spec: VlanSpec,
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
            name=name, ifindex=ifindex, mac=mac, mtu=mtu, up=up, kind="vlan", noarp=noarp
        )
        self.net = net
        self.spec = spec
        self.lower: Device | None = None
        self._ingress_qos = dict(spec.ingress_qos)
        self._egress_qos = dict(spec.egress_qos)
        net.devices[name] = self

    def attach(self, lower: Device) -> None:
        """Stand above `lower`, which hands up the frames of this VLAN."""
        self.lower = lower
        own = 0 if lower.tags_in_metadata else VLAN_HLEN
        self.hard_header_len = lower.hard_header_len + own
        lower.vlan_devices[self.spec.protocol, self.spec.vid] = self

    def receive(self, skb: Skb) -> bool:
        """Take a frame of this VLAN off the device below; False when it ends here."""
        net = self.net
        assert skb.vlan_tci is not None
        if not self.up:
            kfree_skb_reason(net, skb, "DEV_READY", f"{self.name} is down")
            return False
        skb.device = self
        # The VLAN may have another MAC than the device below.
        if skb.pkt_type == PacketType.OTHERHOST and skb.mac_header[:6] == self.mac:
            skb.pkt_type = PacketType.HOST
        skb.priority = self._ingress_qos.get(skb.vlan_tci >> PRIORITY_SHIFT, 0)
        if not self.spec.reorder_header and self.bridge_port is None:
            skb.mac_header = insert_tag(skb.mac_header, skb.vlan_tci, skb.vlan_proto)
        skb.vlan_tci = None
        if net.sink is not None:
            event = FrameReceived(
                device=self.name, frame=frame_of(skb), packet_type=skb.pkt_type.name
            )
            net.tell(skb, event)
        return True

    def xmit(self, skb: Skb) -> None:
        """Tag the frame and send it by the device below."""
        net = self.net
        if net.sink is not None:
            net.tell(skb, FrameSent(device=self.name, frame=frame_of(skb), port=False))
        if self.lower is None:
            kfree_skb_reason(net, skb, "DEV_READY", f"{self.name} has no device below it")
            return
        # Without REORDER_HDR the header is thought to hold the tag already.
        if self.spec.reorder_header or get16(skb.mac_header, 12) != self.spec.protocol:
            priority = self._egress_qos.get(skb.priority, 0)
            skb.vlan_proto = self.spec.protocol
            skb.vlan_tci = self.spec.vid | priority << PRIORITY_SHIFT
        skb.device = self.lower
        dev_queue_xmit(net, skb)
