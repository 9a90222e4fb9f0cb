"""The parts of the stack know each other."""

from __future__ import annotations

from typing import Any

from netemu.wire.address import parse_address
from netemu.wire.ipv4 import build_ipv4


def test_ipv6_is_dropped(lab: Any) -> None:
    lab.send("a0", bytes.fromhex("020000000a00020000000a0186dd") + bytes(40))
    assert lab.drops == ["IPV6DISABLED"]


def test_an_unanswered_next_hop_is_reported_after_three_requests(lab: Any) -> None:
    """Linux 6.18: requests at 0, 1 and 2 s, host unreachable at about 3 s."""
    packet = build_ipv4(
        src=parse_address("10.1.0.2"),
        dst=parse_address("10.2.0.77"),
        protocol=17,
        payload=bytes(8),
    )
    assert len(lab.packet(packet)) == 1
    lab.wait(2.9)
    assert [frame[12:14] for _, frame in lab.out] == [b"\x08\x06"] * 3
    lab.wait(0.3)
    port, frame = lab.out[3]
    assert (port, frame[34:36]) == ("a0", b"\x03\x01")
    assert lab.drops == ["NEIGH_FAILED"]
