"""A device whose other end is outside of the node: captures enter and leave here.

Kernel: any NIC driver; net/core/dev.c (validate_xmit_skb, which completes checksums).
"""

from __future__ import annotations

from collections.abc import Callable

from netemu.events import FrameSent
from netemu.link.device import frame_of, skb_checksum_help
from netemu.net import Net, frame_left, kfree_skb_reason
from netemu.skb import Device, Skb


class Port(Device):
    """A network card, or a veth end whose peer is not part of what is emulated."""

    __slots__ = ("net", "on_frame")

    def __init__(  # noqa: PLR0913 - the properties of a device
        self,
        net: Net,
        *,
        name: str,
        ifindex: int,
        mac: bytes,
        mtu: int = 1500,
        up: bool = True,
        kind: str = "",
        noarp: bool = False,
        on_frame: Callable[[Skb, bytes], None] | None = None,
    ) -> None:
        """Make a port and register it in `net`; `on_frame` is told of each frame that leaves."""
        super().__init__(
            name=name, ifindex=ifindex, mac=mac, mtu=mtu, up=up, kind=kind, noarp=noarp
        )
        self.net = net
        self.on_frame = on_frame
        net.devices[name] = self

    def xmit(self, skb: Skb) -> None:
        """Let the frame leave the node, its checksum completed."""
        net = self.net
        if not self.carrier:
            kfree_skb_reason(net, skb, "QDISC_DROP", f"{self.name} has no carrier")
            return
        skb_checksum_help(skb)
        frame = frame_of(skb)
        frame_left(net, skb, self.name, frame)
        if net.sink is not None:
            net.tell(skb, FrameSent(device=self.name, frame=frame, port=True))
        if self.on_frame is not None:
            self.on_frame(skb, frame)
