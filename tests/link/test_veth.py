"""Veth pairs: what crosses and what is forgotten on the way."""

from __future__ import annotations

from netemu.clock import Clock
from netemu.link.device import dev_queue_xmit
from netemu.link.veth import Veth
from netemu.net import Net
from netemu.skb import Checksum, NfBridge, PacketType, Skb

MAC_A, MAC_B = bytes.fromhex("02000000000a"), bytes.fromhex("02000000000b")


def pair(*, same_namespace: bool = False) -> tuple[Veth, Veth, list[Skb]]:
    clock = Clock()
    here = Net(clock=clock)
    there = here if same_namespace else Net(name="pod", clock=clock)
    left = Veth(here, name="va", ifindex=2, mac=MAC_A)
    right = Veth(there, name="vb", ifindex=3, mac=MAC_B)
    left.connect(right)
    got: list[Skb] = []
    there.packet_handlers[0x0800] = got.append
    return left, right, got


def send(device: Veth, *, to: bytes = MAC_B, length: int = 100) -> Skb:
    skb = Skb(bytes(length), protocol=0x0800, fate=device.net.new_fate(), device=device)
    skb.mac_header = to + device.mac + b"\x08\x00"
    skb.mark, skb.priority, skb.nf_trace, skb.ctinfo = 7, 6, True, 2
    skb.nfct, skb.dst, skb.nf_bridge = object(), object(), NfBridge()
    skb.ip_summed = Checksum.PARTIAL
    dev_queue_xmit(device.net, skb)
    device.net.clock.run_soon()
    return skb


def test_the_peer_receives_the_frame_scrubbed() -> None:
    """Route, conntrack, trace flag, bridge information and priority never cross."""
    left, right, got = pair()
    skb = send(left)
    assert got == [skb]
    assert (right, PacketType.HOST) == (skb.device, skb.pkt_type)
    assert (skb.dst, skb.nfct, skb.nf_bridge) == (None, None, None)
    assert (skb.nf_trace, skb.ctinfo, skb.priority) == (False, 0, 0)
    assert skb.ip_summed == Checksum.PARTIAL


def test_the_mark_survives_within_one_namespace_only() -> None:
    """skb_scrub_packet clears the mark only on the way into another namespace."""
    assert send(pair()[0]).mark == 0
    assert send(pair(same_namespace=True)[0]).mark == 7


def test_packet_type_is_that_of_the_peer() -> None:
    """A frame to another MAC is OTHERHOST at the peer."""
    left, _, got = pair()
    send(left, to=MAC_A)
    assert [skb.pkt_type for skb in got] == [PacketType.OTHERHOST]


def test_the_peer_sets_the_size() -> None:
    """The peer's MTU and room for a tag pass; more is dropped."""
    left, right, got = pair()
    right.mtu = 1400
    assert send(left, length=1405).fate.reason == "PKT_TOO_BIG"
    send(left, length=1404)
    assert len(got) == 1


def test_no_way_to_a_peer_that_is_down_or_absent() -> None:
    """A pair carries only while both ends are up."""
    left, right, _ = pair()
    right.up = False
    assert send(left).fate.reason == "DEV_READY"
    left.connect(right)
    assert not left.carrier
    assert send(left).fate.reason == "QDISC_DROP"
