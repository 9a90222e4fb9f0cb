"""Unreachables and redirects over time; the figures were counted on Linux 6.18 (HZ 250)."""

from __future__ import annotations

from typing import Any

from netemu.wire.address import parse_address
from netemu.wire.ipv4 import build_ipv4
from netemu.wire.udp import build_udp

DEFAULTS = {"net.ipv4.icmp_ratelimit": "1000"}


def udp(src: str, dst: str, ttl: int = 64) -> bytearray:
    source, destination = parse_address(src), parse_address(dst)
    datagram = build_udp(src=source, dst=destination, src_port=53, dst_port=53, payload=b"x")
    return build_ipv4(src=source, dst=destination, protocol=17, payload=datagram, ttl=ttl)


def count(lab: Any, packet: bytes | bytearray, times: int, pause_s: float, kind: int) -> int:
    """How many ICMP messages of a kind come back."""
    found = 0
    for _ in range(times):
        found += sum(out[9] == 1 and out[20] == kind for out in lab.packet(packet))
        lab.wait(pause_s)
    return found


def test_two_of_twenty_unroutable_packets_are_answered(make_lab: Any, router: Any) -> None:
    """ip_error and the ICMP limit draw on the same bucket."""
    lab = make_lab(router(DEFAULTS))
    assert count(lab, udp("10.1.0.11", "172.16.0.1"), 20, 0.001, 3) == 2


def test_two_of_ten_unroutable_packets_in_four_seconds(make_lab: Any, router: Any) -> None:
    lab = make_lab(router(DEFAULTS))
    assert count(lab, udp("10.1.0.12", "172.16.0.1"), 10, 0.4, 3) == 2


def test_six_of_twenty_expired_packets_are_answered(make_lab: Any, router: Any) -> None:
    lab = make_lab(router(DEFAULTS))
    assert count(lab, udp("10.1.0.13", "10.2.0.2", ttl=1), 20, 0.001, 11) == 6
    assert count(lab, udp("10.1.0.14", "10.2.0.2", ttl=1), 12, 0.3, 11) == 9


def test_redirects_back_off(make_lab: Any, router: Any) -> None:
    lab = make_lab(router(DEFAULTS))
    assert count(lab, udp("10.1.0.20", "10.70.0.2"), 80, 0.05, 5) == 7


def test_redirects_end_after_nine_until_there_was_silence(make_lab: Any, router: Any) -> None:
    lab = make_lab(router(DEFAULTS))
    packet = udp("10.1.0.21", "10.70.0.2")
    assert count(lab, packet, 400, 0.05, 5) == 9
    assert count(lab, packet, 20, 1, 5) == 0
    lab.wait(21)
    assert count(lab, packet, 1, 0, 5) == 1


def test_a_deaf_host_is_logged(make_lab: Any, router: Any) -> None:
    lab = make_lab(router({**DEFAULTS, "net.ipv4.conf.all.log_martians": "1"}))
    count(lab, udp("10.1.0.22", "10.70.0.2"), 400, 0.05, 5)
    line = "IPv4: host 10.1.0.22/if2 ignores redirects for 10.70.0.2 to 10.1.0.3"
    assert lab.net.log == [line]
