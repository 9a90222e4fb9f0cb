"""Martians in the kernel log, and the limit on them."""

from __future__ import annotations

from typing import Any

from netemu.wire.address import parse_address
from netemu.wire.ipv4 import build_ipv4

MARTIAN = build_ipv4(
    src=parse_address("127.0.0.1"), dst=parse_address("10.1.0.1"), protocol=17, payload=b""
)
LINES = [
    "IPv4: martian source 10.1.0.1 from 127.0.0.1, on dev a0",
    "ll header: 00000000: 02 00 00 00 0a 00 02 00 00 00 0a 01 08 00",
]
"""As Linux 6.18 logs it."""


def test_martians_are_logged_when_wanted(lab: Any) -> None:
    lab.packet(MARTIAN)
    assert lab.net.log == []
    lab.net.sysctl.set("net.ipv4.conf.a0.log_martians", "1")
    lab.packet(MARTIAN)
    assert lab.net.log == LINES
    packet = build_ipv4(
        src=parse_address("10.1.0.2"), dst=parse_address("127.0.0.1"), protocol=17, payload=b""
    )
    lab.packet(packet)
    assert lab.net.log[2:] == ["IPv4: martian destination 127.0.0.1 from 10.1.0.2, dev a0"]


def test_ten_messages_in_five_seconds(lab: Any) -> None:
    lab.net.sysctl.set("net.ipv4.conf.a0.log_martians", "1")
    for _ in range(30):
        lab.packet(MARTIAN)
    assert lab.net.log == LINES * 10
    lab.wait(5.1)
    lab.packet(MARTIAN)
    assert lab.net.log[20:] == ["net_ratelimit: 20 callbacks suppressed", *LINES]


def test_a_cost_of_nought_lifts_the_limit(lab: Any) -> None:
    lab.net.sysctl.set("net.ipv4.conf.a0.log_martians", "1")
    lab.net.sysctl.set("net.core.message_cost", "0")
    for _ in range(30):
        lab.packet(MARTIAN)
    assert lab.net.log == LINES * 30
