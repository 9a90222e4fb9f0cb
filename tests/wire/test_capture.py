"""Cooked, raw and loopback frames become Ethernet frames; directions are read."""

from __future__ import annotations

import pytest

from netemu.wire.capture import (
    CapturedFrame,
    Direction,
    LinkType,
    ethernet_of,
    link_header_len,
    merge_frames,
)

DEVICE = bytes.fromhex("020000000099")
ROUTER = bytes.fromhex("020000000001")
SENDER = bytes.fromhex("0a0b0c0d0e0f")
IPV4 = bytes.fromhex("450000140001000040007a8e0a000001e0000102")
IPV6 = bytes.fromhex("6000000000003b40") + bytes(32)


def frame(link_type, data, **fields):
    return CapturedFrame(1, 0, data, len(data), link_type, **fields)


def sll(packet_type, protocol, payload, octets=6):
    head = packet_type.to_bytes(2, "big") + b"\0\1" + octets.to_bytes(2, "big")
    return frame(113, head + SENDER + b"\0\0" + protocol.to_bytes(2, "big") + payload)


def sll2(packet_type, protocol, payload, ifindex=4):
    head = protocol.to_bytes(2, "big") + b"\0\0" + ifindex.to_bytes(4, "big") + b"\0\1"
    return frame(276, head + bytes([packet_type, 6]) + SENDER + b"\0\0" + payload)


def ethernet(captured):
    return ethernet_of(captured, dst_mac=DEVICE, src_mac=ROUTER)


def test_an_ethernet_frame_stays_as_it_is():
    data = DEVICE + SENDER + b"\x08\x00" + IPV4
    captured = frame(1, data)
    assert ethernet(captured) is captured.data
    assert (captured.source_mac, captured.protocol, captured.entered) == (SENDER, 0x0800, None)


@pytest.mark.parametrize("make", [sll, sll2])
def test_cooked_headers_keep_the_sender_and_say_for_whom_it_was(make):
    assert ethernet(make(0, 0x0800, IPV4)) == DEVICE + SENDER + b"\x08\x00" + IPV4
    assert ethernet(make(1, 0x0806, b"arp"))[:6] == b"\xff" * 6
    assert ethernet(make(2, 0x0800, IPV4))[:6] == bytes.fromhex("01005e000102")
    assert ethernet(make(2, 0x86DD, IPV6))[:6] == bytes.fromhex("333300000000")
    assert ethernet(make(3, 0x0800, IPV4))[:6] not in {DEVICE, b"\xff" * 6}


@pytest.mark.parametrize("make", [sll, sll2])
@pytest.mark.parametrize("packet_type,entered", [(0, True), (1, True), (3, True), (4, False)])
def test_a_cooked_packet_type_tells_the_direction(make, packet_type, entered):
    captured = make(packet_type, 0x0800, IPV4)
    assert (captured.packet_type, captured.entered) == (packet_type, entered)


def test_sll2_keeps_the_ifindex():
    assert sll2(0, 0x0800, IPV4, ifindex=7).ifindex == 7
    assert sll(0, 0x0800, IPV4).ifindex == 0


def test_a_cooked_header_without_a_mac_address_takes_the_default():
    assert ethernet(sll(0, 0x0800, IPV4, octets=0)) == DEVICE + ROUTER + b"\x08\x00" + IPV4


@pytest.mark.parametrize(
    "link_type,payload,ethertype",
    [
        (101, IPV4, 0x0800),
        (101, IPV6, 0x86DD),
        (12, IPV4, 0x0800),
        (14, IPV4, 0x0800),
        (228, IPV4, 0x0800),
        (229, IPV6, 0x86DD),
    ],
)
def test_raw_ip_is_told_apart_by_its_version(link_type, payload, ethertype):
    expected = DEVICE + ROUTER + ethertype.to_bytes(2, "big") + payload
    assert ethernet(frame(link_type, payload)) == expected


@pytest.mark.parametrize(
    "link_type,family,ethertype",
    [
        (0, "02000000", 0x0800),
        (0, "00000002", 0x0800),
        (0, "1e000000", 0x86DD),
        (108, "00000018", 0x86DD),
    ],
)
def test_loopback_families_in_either_byte_order(link_type, family, ethertype):
    captured = frame(link_type, bytes.fromhex(family) + IPV4)
    assert ethernet(captured) == DEVICE + ROUTER + ethertype.to_bytes(2, "big") + IPV4
    assert link_header_len(link_type) == 4


def test_a_short_cooked_header_says_nothing_rather_than_failing():
    captured = frame(276, b"\x08\x00")
    assert (captured.packet_type, captured.ifindex, captured.entered) == (None, 0, None)


def test_direction_of_a_pcapng_wins():
    captured = sll(0, 0x0800, IPV4)._replace(direction=Direction.OUTBOUND)
    assert captured.entered is False


def test_equal_stamps_keep_the_order_given():
    def at(*times):
        return [CapturedFrame(n, t, b"", 0) for n, t in enumerate(times, 1)]

    merged = merge_frames([("a", at(1, 3, 3)), ("b", at(0, 3, 4)), ("c", at(LinkType.ETHERNET))])
    assert [(source, frame.time_ns) for source, frame in merged] == [
        ("b", 0), ("a", 1), ("c", 1), ("a", 3), ("a", 3), ("b", 3), ("b", 4),
    ]  # fmt: skip
