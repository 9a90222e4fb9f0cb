"""Sending on: to one port or to many."""

from __future__ import annotations

from netemu.link.bridge import Bridge
from netemu.link.bridge_forward import FrameKind, br_flood, br_forward
from netemu.link.port import Port
from netemu.net import Net
from netemu.skb import Skb


def lab() -> tuple[Net, Bridge, Skb]:
    net = Net()
    bridge = Bridge(net, name="br0", ifindex=2)
    for number in (3, 4, 5):
        mac = bytes((2, 0, 0, 0, 0, number))
        bridge.add_port(Port(net, name=f"p{number}", ifindex=number, mac=mac))
    skb = Skb(bytes(46), protocol=0x88B5, fate=net.new_fate(), device=net.devices["p3"])
    skb.mac_header = bytes(12) + b"\x88\xb5"
    return net, bridge, skb


def test_the_last_port_gets_the_original_unless_it_is_needed() -> None:
    """With local_rcv all get copies, so that the original keeps its device."""
    for local_rcv in (False, True):
        net, bridge, skb = lab()
        br_flood(
            net, bridge, bridge.ports, skb, FrameKind.UNICAST, local_rcv=local_rcv, local_orig=False
        )
        assert [sent.device for sent in skb.fate.frames] == ["p5", "p4"]
        assert (skb.device is net.devices["p3"]) is local_rcv


def test_nobody_takes_it() -> None:
    """A frame that no port takes is dropped, unless the caller keeps it."""
    for local_rcv, reason in ((False, "NO_TX_TARGET"), (True, "")):
        net, bridge, skb = lab()
        br_flood(net, bridge, [], skb, FrameKind.UNICAST, local_rcv=local_rcv, local_orig=False)
        assert skb.fate.drop_reason == reason


def test_one_port() -> None:
    """The port of the FDB entry, unless it is the one the frame came in by or none at all."""
    for index, left, reason in ((0, ["p5"], ""), (2, [], "NOT_SPECIFIED")):
        net, bridge, skb = lab()
        br_forward(net, bridge, bridge.ports[index], skb, local_rcv=False, local_orig=False)
        assert [sent.device for sent in skb.fate.frames] == left
        assert skb.fate.drop_reason == reason
    net, bridge, skb = lab()
    br_forward(net, bridge, None, skb, local_rcv=False, local_orig=True)
    assert skb.fate.drop_reason == "NOT_SPECIFIED"
