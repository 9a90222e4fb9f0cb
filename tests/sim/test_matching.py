"""Captured frames find the sent ones, whichever comes first."""

from __future__ import annotations

import pytest

from netemu.sim.matching import Matcher, without_id
from netemu.wire.packet_text import parse_packet

MAC, OTHER = bytes.fromhex("020000000099"), bytes.fromhex("020000000088")


def frame(text: str = "udp 10.0.0.1:1 > 10.0.0.2:2", mac: bytes = MAC) -> bytes:
    return parse_packet(text).frame(dst_mac=mac)


def play(*steps, without_macs=False):
    matcher: Matcher[str, str] = Matcher()
    for kind, item, octets, *flag in steps:
        if kind == "captured":
            matcher.captured(item, "eth0", octets, cut=bool(flag))
        else:
            matcher.sent(item, "eth0", octets, made=bool(flag))
    if without_macs:
        matcher.forget_macs("eth0")
    return matcher


@pytest.mark.parametrize("order", [1, -1])
def test_the_second_meets_the_first(order):
    steps = [("captured", "c", frame()), ("sent", "s", frame())][::order]
    matcher = play(*steps)
    assert (matcher.met, matcher.unmet(), matcher.extra()) == (1, [], [])


def test_each_frame_is_met_once():
    matcher = play(
        ("captured", "c1", frame()), ("captured", "c2", frame()), ("sent", "s", frame()),
        ("sent", "other", frame("udp 10.0.0.1:1 > 10.0.0.2:3")),
    )  # fmt: skip
    assert (matcher.met, matcher.unmet(), matcher.extra()) == (1, ["c2"], ["other"])


def test_devices_are_apart():
    matcher = play(("captured", "c", frame()))
    matcher.sent("s", "eth1", frame(), made=False)
    assert (matcher.unmet(), matcher.extra()) == (["c"], ["s"])


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("made", [True, False])
def test_the_identification_of_a_made_packet_is_not_compared(order, made):
    one, other = (frame(f"icmp 10.0.0.1 > 10.0.0.2 echo-reply ip-id={id_}") for id_ in (7, 8))
    sent = ("sent", "s", other, True) if made else ("sent", "s", other)
    matcher = play(*[("captured", "c", one), sent][::order])
    assert (matcher.met, matcher.met_but_id) == ((1, 1) if made else (0, 0))


def test_an_exact_match_goes_before_a_loose_one():
    one, other = (frame(f"icmp 10.0.0.1 > 10.0.0.2 echo-reply ip-id={id_}") for id_ in (7, 8))
    matcher = play(
        ("sent", "s7", one, True), ("sent", "s8", other, True),
        ("captured", "c8", other), ("captured", "c7", one),
    )  # fmt: skip
    assert (matcher.met, matcher.met_but_id) == (2, 0)


def test_a_capture_without_macs():
    matcher: Matcher[str, str] = Matcher()
    matcher.sent("s", "eth0", frame(), made=False)
    matcher.forget_macs("eth0")
    matcher.forget_macs("eth0")
    assert matcher.was_sent("eth0", frame(mac=OTHER))
    matcher.captured("c", "eth0", frame(mac=OTHER))
    assert (matcher.met, matcher.was_sent("eth0", frame())) == (1, False)


@pytest.mark.parametrize("order", [1, -1])
def test_a_cut_expectation_is_met_as_far_as_it_goes(order):
    steps = [("captured", "c", frame()[:30], True), ("sent", "s", frame())]
    matcher = play(*steps[::order])
    assert (matcher.met, matcher.unmet(), matcher.extra()) == (1, [], [])
    assert play(("captured", "c", b"no", True), ("sent", "s", frame())).unmet() == ["c"]


def test_fragments_keep_their_identification():
    packet = bytearray(frame())
    assert without_id(bytes(packet)) != bytes(packet)
    packet[20] = 0x20
    assert without_id(bytes(packet)) == bytes(packet)
    packet[20:22] = b"\0\5"
    assert without_id(bytes(packet)) == bytes(packet)
    tagged = frame("udp 10.0.0.1:1 > 10.0.0.2:2 vlan=5")
    assert without_id(tagged)[22:24] == b"\0\0"
    arp = frame("arp who-has 10.0.0.1 tell 10.0.0.2")
    assert without_id(arp) == arp
