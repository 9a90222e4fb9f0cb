"""The receive window beside Linux 6.18: a listener that nobody reads from got data, `ss` told.

Peers of MSS 1460 sent so many octets at a time from a packet socket, without options but those
named; of each segment there is the memory it took, the slow start threshold, the field of the ACK.
"""

from __future__ import annotations

from typing import Any

import pytest

from netemu.ip.tcp_listen import TcpConnections
from netemu.ip.tcp_sock import TcpSock
from netemu.ip.tcp_window import head_room
from netemu.sim.spec import SocketSpec
from netemu.wire.address import parse_address
from netemu.wire.ipv4 import build_ipv4
from netemu.wire.tcp import TCP, Flag, build_tcp

PEER, ROUTER = parse_address("10.1.0.2"), parse_address("10.1.0.1")
MSS, SCALE7 = bytes.fromhex("020405b4"), bytes.fromhex("01030307")
STAMP = bytes.fromhex("0101080a0000000900000000")


@pytest.fixture
def server(make_lab: Any, router: Any) -> Any:
    """The router with a listener on port 80."""
    return make_lab(router(sockets=[SocketSpec(protocol="tcp", address=bytes(4), port=80)]))


def segment(seq: int, ack: int, flags: int, size: int = 0, options: bytes = b"") -> bytes:
    body = build_tcp(
        src=PEER,
        dst=ROUTER,
        src_port=5000,
        dst_port=80,
        seq=seq,
        ack=ack,
        flags=flags,
        window=8000,
        options=options,
        payload=bytes(size),
    )
    return bytes(build_ipv4(src=PEER, dst=ROUTER, protocol=6, payload=body))


@pytest.mark.parametrize(
    "offer,options,size,expected",
    [
        (MSS, b"", 1, [(832, 64076, 64239), (0, 64076, 64238), (0, 64076, 64237)]),
        (
            MSS,
            b"",
            100,
            [
                (832, 64076, 64140),
                (0, 64076, 64040),
                (832, 64076, 64040),
                (0, 64076, 64040),
                (832, 64076, 64040),
                (0, 64076, 64040),
                (832, 64076, 63940),
                (0, 64076, 63840),
            ],
        ),
        (MSS, b"", 300, [(1280, 64076, 63940), (0, 64076, 63940), (1280, 64076, 63940)]),
        (MSS, b"", 500, [(1280, 64076, 63784), (1280, 64076, 63784), (1280, 64076, 63500)]),
        (MSS, b"", 700, [(2304, 39424, 63540), (0, 39424, 62840), (2304, 39424, 62140)]),
        (MSS, b"", 1000, [(2304, 56832, 63240), (2304, 56832, 62240), (2304, 56832, 61240)]),
        (MSS, b"", 1400, [(2304, 67160, 65535), (2304, 70080, 65535), (2304, 73000, 65535)]),
        (MSS + SCALE7, b"", 600, [(1280, 61440, 63), (1280, 61440, 63)]),
        (MSS + SCALE7, b"", 1400, [(2304, 67160, 66), (2304, 70080, 69), (2304, 73000, 72)]),
        (MSS + STAMP, STAMP, 600, [(1280, 61440, 64560), (1280, 61440, 63960)]),
        (MSS + STAMP, STAMP, 1400, [(2304, 68056, 65535), (2304, 70952, 65535)]),
        (MSS + STAMP + SCALE7, STAMP, 1400, [(2304, 68056, 67), (2304, 70952, 70)]),
    ],
)
def test_the_window_follows_the_memory(
    server: Any, offer: bytes, options: bytes, size: int, expected: list[tuple[int, int, int]]
) -> None:
    [answer] = server.packet(segment(100, 0, Flag.SYN, options=offer))
    ack = TCP(bytearray(answer), 20).seq + 1
    server.packet(segment(101, ack, Flag.ACK, options=options))
    [sock] = server.net.generic(TcpConnections).socks.values()
    assert isinstance(sock, TcpSock)
    found = []
    for number in range(len(expected)):
        before = sock.rcv.charged
        sent = server.packet(segment(101 + number * size, ack, Flag.ACK, size, options))
        fields = [TCP(bytearray(packet), 20).window for packet in sent]
        found.append((sock.rcv.charged - before, sock.rcv.ssthresh, *fields))
    assert expected == found


@pytest.mark.parametrize(
    "payload,room", [(186, 256), (187, 704), (634, 704), (635, 1728), (1460, 1728)]
)
def test_the_buffer_of_a_frame(payload: int, room: int) -> None:
    assert head_room(54 + payload) == room
