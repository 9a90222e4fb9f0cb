"""802.1Q devices: the tag comes off on the way in and goes on on the way out."""

from __future__ import annotations

from netemu.link.device import receive_frame
from netemu.link.port import Port
from netemu.link.vlan import Vlan
from netemu.net import Net
from netemu.sim.spec import VlanSpec
from netemu.skb import PacketType, Skb

LOW, HIGH, PEER = (bytes.fromhex(f"0200000000{n}") for n in ("0a", "0b", "0c"))
BODY = bytes(46)


def pair(spec: VlanSpec | None = None) -> tuple[Net, Port, Vlan, list[Skb]]:
    net = Net()
    port = Port(net, name="eth0", ifindex=2, mac=LOW)
    vlan = Vlan(net, spec or VlanSpec(vid=10), name="eth0.10", ifindex=3, mac=HIGH)
    vlan.attach(port)
    got: list[Skb] = []
    net.packet_handlers[0x88B5] = got.append
    return net, port, vlan, got


def enter(net: Net, port: Port, tag: str, dst: bytes = LOW) -> None:
    frame = dst + PEER + bytes.fromhex(tag) + b"\x88\xb5" + BODY
    receive_frame(net, port, frame, fate=net.new_fate())


def leave(net: Net, vlan: Vlan, *, priority: int = 0) -> bytes:
    skb = Skb(BODY, protocol=0x88B5, fate=net.new_fate(), device=vlan)
    skb.mac_header = PEER + vlan.mac + b"\x88\xb5"
    skb.priority = priority
    vlan.xmit(skb)
    return skb.fate.frames[0].frame


def test_a_frame_of_the_vlan_becomes_the_devices_own() -> None:
    """Its device is the upper one, and it has no tag any more."""
    net, port, vlan, got = pair()
    enter(net, port, "8100000a")
    enter(net, port, "8100000b")
    enter(net, port, "88a8000a")
    assert [skb.device for skb in got] == [vlan, port, port]
    assert [skb.vlan_tci for skb in got] == [None, None, None]
    assert [skb.pkt_type for skb in got] == [PacketType.HOST] + [PacketType.OTHERHOST] * 2


def test_the_mac_of_the_vlan_counts_as_well() -> None:
    """A frame for the upper device's MAC is no one else's."""
    net, port, _, got = pair()
    enter(net, port, "8100000a", HIGH)
    assert [skb.pkt_type for skb in got] == [PacketType.HOST]


def test_the_tag_behind_a_priority_tag_counts() -> None:
    """VLAN 0 says a priority only."""
    net, port, vlan, got = pair()
    enter(net, port, "8100600081 00000a".replace(" ", ""))
    assert [skb.device for skb in got] == [vlan]


def test_priorities_are_translated_both_ways() -> None:
    """By the maps of `ip link add ... ingress-qos-map 3:6 egress-qos-map 6:5`."""
    spec = VlanSpec(vid=10, ingress_qos=((3, 6),), egress_qos=((6, 5),))
    net, port, vlan, got = pair(spec)
    enter(net, port, "8100600a")
    assert [skb.priority for skb in got] == [6]
    assert leave(net, vlan, priority=6)[12:16].hex() == "8100a00a"
    assert leave(net, vlan)[12:16].hex() == "8100000a"


def test_a_device_that_is_down_takes_the_frame_and_drops_it() -> None:
    """Nobody else gets it."""
    net, port, vlan, got = pair()
    vlan.up = False
    enter(net, port, "8100000a")
    assert got == []


def test_vlans_stand_above_each_other() -> None:
    """The inner tag is put into the frame, the outer one beside it."""
    net, _, vlan, _ = pair()
    inner = Vlan(net, VlanSpec(vid=7), name="eth0.10.7", ifindex=4, mac=HIGH)
    inner.attach(vlan)
    assert leave(net, inner)[12:22].hex() == "8100000a8100000788b5"
    assert (inner.hard_header_len, vlan.hard_header_len) == (18, 14)
