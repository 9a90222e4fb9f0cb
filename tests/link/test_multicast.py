"""What snooping drops."""

from __future__ import annotations

import pytest

from netemu.link.multicast import multicast_is_malformed
from netemu.net import Net
from netemu.skb import Skb
from netemu.wire.checksum import internet_checksum
from netemu.wire.ipv4 import build_ipv4

ALL_HOSTS, GROUP = bytes((224, 0, 0, 1)), bytes((239, 1, 1, 1))


def igmp(kind: int, group: bytes, *, length: int = 8) -> bytes:
    message = bytearray(length)
    message[0], message[4:8] = kind, group
    message[2:4] = internet_checksum(message).to_bytes(2, "big")
    return bytes(message)


@pytest.mark.parametrize(
    ("dst", "message", "malformed"),
    [
        (GROUP, igmp(0x16, GROUP), False),
        (GROUP, igmp(0x16, GROUP)[:7], True),
        (GROUP, b"\x16" + bytes(7), True),
        (ALL_HOSTS, igmp(0x11, bytes(4)), False),
        (GROUP, igmp(0x11, bytes(4)), True),
        (GROUP, igmp(0x11, GROUP), False),
        (GROUP, igmp(0x11, GROUP, length=12), False),
        (GROUP, igmp(0x11, GROUP, length=10), True),
        (GROUP, igmp(0x55, GROUP), False),
    ],
)
def test_igmp_messages(dst: bytes, message: bytes, malformed: bool) -> None:
    """Checksum, length, and the destination of a general query (ip_mc_check_igmp)."""
    packet = build_ipv4(src=bytes((10, 0, 0, 1)), dst=dst, protocol=2, payload=message)
    skb = Skb(packet, protocol=0x0800, fate=Net().new_fate())
    assert multicast_is_malformed(skb) is malformed


def test_broken_ip_headers() -> None:
    """Too short, of another version, longer than it is; other protocols are not looked at."""
    good = bytes(build_ipv4(src=bytes(4), dst=GROUP, protocol=17, payload=b"data"))
    broken = [
        good[:19],
        b"\x55" + good[1:],
        b"\x44" + good[1:],
        good[:-1],
        good[:2] + b"\0\x13" + good[4:],
    ]
    fate = Net().new_fate()
    verdicts = [
        multicast_is_malformed(Skb(data, protocol=0x0800, fate=fate)) for data in [good, *broken]
    ]
    assert verdicts == [False] + [True] * 5
    assert not multicast_is_malformed(Skb(b"", protocol=0x86DD, fate=fate))
