"""A pair of devices: what one sends the other receives, often in another namespace.

Kernel: drivers/net/veth.c (veth_xmit), net/core/dev.c (__dev_forward_skb), net/core/skbuff.c
(skb_scrub_packet).
"""

from __future__ import annotations

from netemu.events import FrameSent
from netemu.link.device import eth_type_trans, frame_of, is_skb_forwardable, netif_rx
from netemu.link.wire import Wire
from netemu.net import Net, kfree_skb_reason
from netemu.skb import Device, PacketType, Skb


class Veth(Device):
    """One end of a pair; `connect` joins two."""

    __slots__ = ("net", "peer", "wire")

    def __init__(  # noqa: PLR0913 - the properties of a device
        self,
        net: Net,
        *,
        name: str,
        ifindex: int,
        mac: bytes,
        mtu: int = 1500,
        up: bool = True,
        noarp: bool = False,
    ) -> None:
        """Make an end without a peer and register it in `net`."""
        super().__init__(
            name=name, ifindex=ifindex, mac=mac, mtu=mtu, up=up, kind="veth", noarp=noarp
        )
        self.net = net
        self.peer: Veth | None = None
        self.wire: Wire | None = None
        """What happens to frames on their way to the peer; None: nothing."""
        self.carrier = False
        net.devices[name] = self

    def connect(self, peer: Veth) -> None:
        """Make `self` and `peer` the two ends of one pair; both carry if both are up."""
        self.peer = peer
        peer.peer = self
        self.carrier = peer.carrier = self.up and peer.up

    def xmit(self, skb: Skb) -> None:
        """Let the peer receive the frame (veth_xmit)."""
        net = self.net
        if not self.carrier:
            kfree_skb_reason(net, skb, "QDISC_DROP", f"{self.name} has no carrier")
            return
        if net.sink is not None:
            net.tell(skb, FrameSent(device=self.name, frame=frame_of(skb), port=False))
        peer = self.peer
        assert peer is not None, "without a peer there is no carrier"
        if self.wire is None:
            self._forward_to(peer, skb)
        else:
            self.wire.carry(skb, lambda carried: self._forward_to(peer, carried))

    def _forward_to(self, peer: Veth, skb: Skb) -> None:
        """Let the peer take the frame in (__dev_forward_skb)."""
        net = self.net
        if not is_skb_forwardable(peer, skb):
            why = "is down" if not peer.up else f"has MTU {peer.mtu}"
            kfree_skb_reason(
                net, skb, "DEV_READY" if not peer.up else "PKT_TOO_BIG", f"peer {peer.name} {why}"
            )
            return
        skb_scrub_packet(skb, crosses_namespace=peer.net is not net)
        skb.priority = 0
        eth_type_trans(skb, peer)
        netif_rx(peer.net, skb)


def skb_scrub_packet(skb: Skb, *, crosses_namespace: bool) -> None:
    """Forget what one namespace knew of a packet before another receives it."""
    skb.pkt_type = PacketType.HOST
    skb.ignore_df = False
    skb.dst = None
    skb.nf_bridge = None
    skb.nfct = None
    skb.ctinfo = 0
    skb.nf_trace = False
    if not crosses_namespace:
        return
    # ipvs_reset, mark: only a packet for another namespace loses them.
    skb.ipvs_property = False
    skb.mark = 0
    skb.sk = None
