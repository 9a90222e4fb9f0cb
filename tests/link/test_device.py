"""Frames in and out of a device: types, tags, offload, drops."""

from __future__ import annotations

import pytest

from netemu.link.device import (
    dev_queue_xmit,
    eth_skb_pkt_type,
    is_skb_forwardable,
    netif_receive_skb,
    receive_frame,
    skb_checksum_help,
)
from netemu.link.port import Port
from netemu.net import Net
from netemu.skb import Checksum, Fate, PacketType, Skb
from netemu.wire.checksum import fold, l4_checksum, pseudo_header_sum
from netemu.wire.ipv4 import IPPROTO_TCP, IPPROTO_UDP, build_ipv4
from netemu.wire.udp import build_udp

MAC = bytes.fromhex("020000000001")
OTHER = bytes.fromhex("020000000002")
A, B = bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2])


def node() -> tuple[Net, Port, list[Skb]]:
    net = Net()
    got: list[Skb] = []
    net.packet_handlers[0x0800] = got.append
    return net, Port(net, name="eth0", ifindex=2, mac=MAC), got


def receive(net: Net, port: Port, frame: bytes) -> Fate:
    fate = net.new_fate()
    receive_frame(net, port, frame, fate=fate)
    net.clock.run_soon()
    return fate


def udp_packet(check: int | None = None, payload: bytes = b"abc") -> bytes:
    segment = bytearray(build_udp(src=A, dst=B, src_port=1, dst_port=2, payload=payload))
    if check is not None:
        segment[6:8] = check.to_bytes(2, "big")
    return bytes(build_ipv4(src=A, dst=B, protocol=IPPROTO_UDP, payload=segment))


@pytest.mark.parametrize(
    ("destination", "expected"),
    [
        (MAC, PacketType.HOST),
        (OTHER, PacketType.OTHERHOST),
        (b"\xff" * 6, PacketType.BROADCAST),
        (bytes.fromhex("01005e000001"), PacketType.MULTICAST),
    ],
)
def test_packet_type_follows_the_destination_mac(destination: bytes, expected: PacketType) -> None:
    """Own MAC is HOST; the group bit tells broadcast and multicast; the rest is OTHERHOST."""
    _, port, _ = node()
    assert expected == eth_skb_pkt_type(destination, port)


def test_a_frame_reaches_the_handler_of_its_ethertype() -> None:
    """The link header is kept apart and the packet starts at the IP header."""
    net, port, got = node()
    frame = MAC + OTHER + b"\x08\x00" + udp_packet()
    receive(net, port, frame)
    assert [frame[:14]] == [skb.mac_header for skb in got]
    assert udp_packet() == bytes(got[0].data)


def test_unknown_ethertype_is_unhandled_proto() -> None:
    """Nobody takes ethertype 88b5."""
    net, port, _ = node()
    assert receive(net, port, MAC + OTHER + b"\x88\xb5" + bytes(46)).reason == "UNHANDLED_PROTO"


def test_a_device_that_is_down_takes_nothing() -> None:
    """Frames to and from a device that is down are dropped."""
    net, port, got = node()
    port.up = False
    frame = MAC + OTHER + b"\x08\x00" + udp_packet()
    assert receive(net, port, frame).reason == "DEV_READY"
    assert not got
    skb = Skb(b"x", protocol=0x0800, fate=net.new_fate(), device=port)
    dev_queue_xmit(net, skb)
    assert skb.fate.reason == "DEV_READY"


def test_a_short_frame_is_dropped() -> None:
    """Thirteen octets are no Ethernet frame."""
    net, port, _ = node()
    assert receive(net, port, bytes(13)).reason == "PKT_TOO_SMALL"


def test_tagged_frame_without_vlan_device_is_otherhost() -> None:
    """A frame tagged for a VLAN that has no device reaches the stack as OTHERHOST, untagged."""
    net, port, got = node()
    receive(net, port, MAC + OTHER + bytes.fromhex("8100000a0800") + udp_packet())
    assert [(skb.pkt_type, skb.vlan_tci) for skb in got] == [(PacketType.OTHERHOST, None)]
    assert udp_packet() == bytes(got[0].data)


def test_priority_tag_is_ours() -> None:
    """VLAN id 0 is a priority tag only, and two of them are as well."""
    net, port, got = node()
    receive(net, port, MAC + OTHER + bytes.fromhex("810060000800") + udp_packet())
    receive(net, port, MAC + OTHER + bytes.fromhex("81000000810000000800") + udp_packet())
    assert [skb.pkt_type for skb in got] == [PacketType.HOST] * 2


def test_cut_tag_is_dropped() -> None:
    """A tag without its ethertype and two octets more is cut short."""
    net, port, _ = node()
    assert receive(net, port, MAC + OTHER + bytes.fromhex("8100000a0800")).reason == "HDR_TRUNC"


def test_tag_is_put_back_on_output() -> None:
    """skb.vlan_tci becomes a tag of the frame again."""
    net, port, _ = node()
    skb = Skb(udp_packet(), protocol=0x0800, fate=net.new_fate(), device=port)
    skb.mac_header, skb.vlan_tci = OTHER + MAC + b"\x08\x00", 0x600A
    dev_queue_xmit(net, skb)
    expected = OTHER + MAC + bytes.fromhex("8100600a0800") + udp_packet()
    assert [expected] == [sent.frame for sent in skb.fate.frames]


def test_bare_pseudo_header_sum_is_partial_and_completed_on_output() -> None:
    """A checksum that is the pseudo-header sum counts as offloaded; a port completes it."""
    net, port, got = node()
    bare = fold(pseudo_header_sum(A, B, IPPROTO_UDP, 11))
    receive(net, port, MAC + OTHER + b"\x08\x00" + udp_packet(bare))
    receive(net, port, MAC + OTHER + b"\x08\x00" + udp_packet())
    assert [skb.ip_summed for skb in got] == [Checksum.PARTIAL, Checksum.NONE]
    got[0].device = port
    dev_queue_xmit(net, got[0])
    assert udp_packet() == got[0].fate.frames[0].frame[14:]


def test_completed_checksum_is_never_zero() -> None:
    """A sum of 0 is sent as ffff (CSUM_MANGLED_0), for TCP as for UDP."""
    segment = bytearray(20)
    segment[12] = 0x50
    rest = l4_checksum(A, B, IPPROTO_TCP, segment)
    segment[4:6] = rest.to_bytes(2, "big")
    segment[16:18] = fold(pseudo_header_sum(A, B, IPPROTO_TCP, 20)).to_bytes(2, "big")
    packet = build_ipv4(src=A, dst=B, protocol=IPPROTO_TCP, payload=segment)
    skb = Skb(packet, protocol=0x0800, fate=Net().new_fate())
    skb.ip_summed = Checksum.PARTIAL
    skb_checksum_help(skb)
    assert bytes(skb.data[36:38]) == b"\xff\xff"
    assert skb.ip_summed == Checksum.NONE


def test_merged_frames_pass_every_mtu_check() -> None:
    """A whole TCP or UDP packet over the MTU was merged by GRO."""
    net, port, got = node()
    receive(net, port, MAC + OTHER + b"\x08\x00" + udp_packet(payload=bytes(1473)))
    receive(net, port, MAC + OTHER + b"\x08\x00" + udp_packet(payload=bytes(1472)))
    assert [skb.gso for skb in got] == [True, False]
    assert is_skb_forwardable(port, got[0])


def test_forwardable_leaves_room_for_a_tag() -> None:
    """The MTU and four octets pass, one more does not; a device that is down passes nothing."""
    net, port, _ = node()
    skb = Skb(bytes(1504), protocol=0x0800, fate=net.new_fate())
    assert is_skb_forwardable(port, skb)
    skb.data.append(0)
    assert not is_skb_forwardable(port, skb)
    port.up = False
    assert not is_skb_forwardable(port, Skb(b"", protocol=0x0800, fate=net.new_fate()))


def test_802_3_frames_have_pseudo_ethertypes() -> None:
    """Below 0600 the field is a length: LLC, or raw 802.3 when the payload begins with ffff."""
    net, port, _ = node()
    taken: list[int] = []
    net.packet_handlers[4] = lambda skb: taken.append(skb.protocol)
    net.packet_handlers[1] = lambda skb: taken.append(skb.protocol)
    receive(net, port, MAC + OTHER + b"\x00\x26" + b"\x42\x42\x03" + bytes(43))
    receive(net, port, MAC + OTHER + b"\x00\x26" + b"\xff\xff" + bytes(44))
    assert taken == [4, 1]


def test_rx_handler_comes_before_the_protocol() -> None:
    """What the bridge consumes never reaches the stack."""
    net, port, got = node()
    port.rx_handler = lambda skb: True
    skb = Skb(udp_packet(), protocol=0x0800, fate=net.new_fate(), device=port)
    netif_receive_skb(net, skb)
    assert not got
