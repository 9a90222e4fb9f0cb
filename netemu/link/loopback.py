"""The loopback device: what is sent comes back in.

Kernel: drivers/net/loopback.c.

The packet keeps its route and its conntrack entry over lo, so neither is looked up again.
"""

from __future__ import annotations

from netemu.events import FrameSent
from netemu.link.device import eth_type_trans, frame_of, netif_rx
from netemu.net import Net
from netemu.skb import ZERO_MAC, Device, Skb

LOOPBACK_IFINDEX = 1
LOOPBACK_MTU = 65536
"""64 KiB (drivers/net/loopback.c gen_lo_setup)."""


class Loopback(Device):
    """The device `lo`."""

    __slots__ = ("net",)

    def __init__(
        self,
        net: Net,
        *,
        name: str = "lo",
        ifindex: int = LOOPBACK_IFINDEX,
        mtu: int = LOOPBACK_MTU,
        up: bool = True,
    ) -> None:
        """Make lo and register it in `net`."""
        super().__init__(
            name=name,
            ifindex=ifindex,
            mac=ZERO_MAC,
            mtu=mtu,
            up=up,
            kind="loopback",
            loopback=True,
            noarp=True,
        )
        self.net = net
        net.devices[name] = self

    def xmit(self, skb: Skb) -> None:
        """Receive the frame here (loopback_xmit)."""
        net = self.net
        if net.sink is not None:
            net.tell(skb, FrameSent(device=self.name, frame=frame_of(skb), port=False))
        skb.sk = None
        eth_type_trans(skb, self)
        netif_rx(net, skb)
