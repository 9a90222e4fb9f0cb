"""What a written packet leaves open is filled in when it becomes a frame."""

from __future__ import annotations

from netemu.wire.composed import DEFAULT_SRC_MAC, ETH_P_ARP, ComposedPacket

DEVICE = bytes.fromhex("020000000099")


def test_open_addresses_are_filled_in():
    packet = ComposedPacket(text="", network=b"x")
    assert packet.frame(dst_mac=DEVICE) == DEVICE + DEFAULT_SRC_MAC + b"\x08\x00x"
    assert packet.frame(dst_mac=DEVICE, src_mac=DEVICE)[6:12] == DEVICE


def test_given_addresses_stay():
    packet = ComposedPacket(text="", network=b"x", src_mac=b"s" * 6, dst_mac=b"d" * 6, vlan=7)
    assert packet.frame(dst_mac=DEVICE) == b"d" * 6 + b"s" * 6 + b"\x81\x00\x00\x07\x08\x00x"


def test_an_open_arp_sender_takes_the_frames():
    packet = ComposedPacket(text="", network=bytes(28), ethertype=ETH_P_ARP, arp_sender_open=True)
    frame = packet.frame(dst_mac=DEVICE)
    assert frame[14 + 8 : 14 + 14] == frame[6:12] == DEFAULT_SRC_MAC
