"""Who takes a packet."""

from __future__ import annotations

from typing import Any

import pytest

from netemu.sim.spec import SocketSpec
from netemu.wire.address import parse_address
from netemu.wire.ipv4 import build_ipv4
from netemu.wire.tcp import build_tcp
from netemu.wire.udp import build_udp

PEER, ROUTER, OTHER = (parse_address(text) for text in ("10.1.0.2", "10.1.0.1", "10.2.0.1"))


def udp(dst: bytes, port: int = 53) -> bytearray:
    datagram = build_udp(src=PEER, dst=dst, src_port=1000, dst_port=port, payload=b"?")
    return build_ipv4(src=PEER, dst=dst, protocol=17, payload=datagram)


@pytest.mark.parametrize(
    "address,device,taken_by",
    [
        (bytes(4), "", {ROUTER, OTHER}),
        (bytes(16), "", {ROUTER, OTHER}),
        (ROUTER, "", {ROUTER}),
        (bytes(4), "a0", {ROUTER, OTHER}),
        (bytes(4), "b0", set()),
    ],
)
def test_udp_is_taken_by_address_and_device(
    make_lab: Any, router: Any, address: bytes, device: str, taken_by: set[bytes]
) -> None:
    socket = SocketSpec(protocol="udp", address=address, port=53, device=device)
    lab = make_lab(router(sockets=[socket]))
    for dst in (ROUTER, OTHER):
        answers = lab.packet(udp(dst))
        assert (answers, lab.drops) == ([], []) if dst in taken_by else lab.drops == ["NO_SOCKET"]
    assert lab.packet(udp(ROUTER, port=54))[0][20:22] == b"\x03\x03"


def test_a_broadcast_is_taken_or_ignored(make_lab: Any, router: Any) -> None:
    everybody = parse_address("10.1.0.255")
    lab = make_lab(router(sockets=[SocketSpec(protocol="udp", address=bytes(4), port=53)]))
    assert lab.packet(udp(everybody)) == []
    assert lab.drops == []
    assert lab.packet(udp(everybody, port=54)) == []
    assert lab.drops == ["NOT_SPECIFIED"]


def test_a_udp_socket_does_not_take_tcp(make_lab: Any, router: Any) -> None:
    lab = make_lab(router(sockets=[SocketSpec(protocol="udp", address=bytes(4), port=53)]))
    segment = build_tcp(src=PEER, dst=ROUTER, src_port=1000, dst_port=53)
    assert lab.packet(build_ipv4(src=PEER, dst=ROUTER, protocol=6, payload=segment))
    assert lab.drops == ["NO_SOCKET"]
