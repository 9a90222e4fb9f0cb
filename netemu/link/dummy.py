"""The dummy device: it carries addresses, and what is sent there is lost.

Kernel: drivers/net/dummy.c (dummy_xmit).
"""

from __future__ import annotations

from netemu.events import FrameSent
from netemu.link.device import frame_of
from netemu.net import Net, kfree_skb_reason
from netemu.skb import Device, Skb


class Dummy(Device):
    """A dummy device, such as kube-ipvs0."""

    __slots__ = ("net",)

    def __init__(  # noqa: PLR0913 - the properties of a device
        self,
        net: Net,
        *,
        name: str,
        ifindex: int,
        mac: bytes,
        mtu: int = 1500,
        up: bool = True,
        noarp: bool = True,
    ) -> None:
        """Make the device and register it in `net`."""
        super().__init__(
            name=name, ifindex=ifindex, mac=mac, mtu=mtu, up=up, kind="dummy", noarp=noarp
        )
        self.net = net
        net.devices[name] = self

    def xmit(self, skb: Skb) -> None:
        """Lose the frame."""
        net = self.net
        if net.sink is not None:
            net.tell(skb, FrameSent(device=self.name, frame=frame_of(skb), port=False))
        kfree_skb_reason(net, skb, "NO_TX_TARGET", f"{self.name} is a dummy device")
