"""Ports: the node's outer ends."""

from __future__ import annotations

from netemu.events import Event, FrameSent, Stamp
from netemu.link.device import dev_queue_xmit
from netemu.link.port import Port
from netemu.net import Net
from netemu.skb import Skb

HEADER = bytes.fromhex("02000000000202000000000188b5")


def frame_out(net: Net, port: Port) -> Skb:
    skb = Skb(b"payload", protocol=0x88B5, fate=net.new_fate(), device=port)
    skb.mac_header = HEADER
    dev_queue_xmit(net, skb)
    return skb


def test_what_a_port_sends_has_left_the_node() -> None:
    """The frame is in the packet's fate, with its time, and callback and sink are told."""
    net = Net()
    told: list[Event] = []
    frames: list[bytes] = []

    def sink(_stamp: Stamp, event: Event) -> None:
        told.append(event)

    net.sink = sink
    port = Port(
        net,
        name="eth0",
        ifindex=2,
        mac=HEADER[6:12],
        on_frame=lambda _skb, frame: frames.append(frame),
    )
    net.clock.run_until(5)
    skb = frame_out(net, port)
    sent = skb.fate.frames[0]
    assert (sent.time_ns, sent.device, sent.frame) == (5, "eth0", HEADER + b"payload")
    assert frames == [HEADER + b"payload"]
    assert told == [FrameSent(device="eth0", frame=frames[0], port=True)]
    assert net.devices == {"eth0": port}


def test_no_carrier_drops_in_the_queue() -> None:
    """A card without carrier has the noop queue, which drops."""
    net = Net()
    port = Port(net, name="eth0", ifindex=2, mac=HEADER[6:12])
    port.carrier = False
    assert frame_out(net, port).fate.reason == "QDISC_DROP"
