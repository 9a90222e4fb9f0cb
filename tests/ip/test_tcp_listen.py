"""What a TCP listener answers; every figure was asked of Linux 6.18 (tcp_rmem 4096 131072 33554432).

There a program accepted and read; sequence numbers count from the two first ones.
"""

from __future__ import annotations

from typing import Any

import pytest

from netemu.ip.tcp_listen import TcpConnections
from netemu.sim.spec import SocketSpec
from netemu.wire.address import parse_address
from netemu.wire.ipv4 import IPv4, build_ipv4
from netemu.wire.tcp import TCP, Flag, build_tcp

PEER, ROUTER = parse_address("10.1.0.2"), parse_address("10.1.0.1")
MSS = bytes.fromhex("020405b4")
SACK, SCALE7 = bytes.fromhex("0402"), bytes.fromhex("01030307")
STAMP77 = bytes.fromhex("080a0000004d00000000")
FLAGS = {"F": 1, "S": 2, "R": 4, "P": 8, "A": 16, "U": 32, "E": 64, "C": 128}


class Peer:
    """The other side of one connection; sequence numbers count from the first ones."""

    def __init__(self, lab: Any, port: int = 5000, tos: int = 0) -> None:
        self.lab = lab
        self.port = port
        self.tos = tos
        self.isn = 0

    def send(
        self, flags: str, seq: int = 0, ack: int = 0, data: bytes = b"", options: bytes = b""
    ) -> list[str]:
        """Send a segment; return what comes back, and why it was dropped after `!`."""
        segment = build_tcp(
            src=PEER,
            dst=ROUTER,
            src_port=self.port,
            dst_port=80,
            seq=1000 + seq,
            ack=self.isn + ack if "A" in flags else 0,
            flags=sum(FLAGS[letter] for letter in flags),
            window=500,
            options=options,
            payload=data,
        )
        packet = build_ipv4(src=PEER, dst=ROUTER, protocol=6, payload=segment, tos=self.tos)
        answers = [self.describe(answer) for answer in self.lab.packet(packet)]
        return answers + [f"! {reason}" for reason in self.lab.drops]

    def describe(self, packet: bytes) -> str:
        """Tell a segment in a line."""
        view = TCP(bytearray(packet), 20)
        if view.flags & Flag.SYN:
            self.isn = view.seq
        letters = "".join(letter for letter, bit in FLAGS.items() if view.flags & bit)
        seq = (view.seq - self.isn) & 0xFFFFFFFF
        ack = view.ack - 1000 if view.flags & Flag.ACK else 0
        return f"{letters} {seq} {ack} win {view.window}"


@pytest.fixture
def server(make_lab: Any, router: Any) -> Any:
    """The router with a listener on port 80."""
    return make_lab(router(sockets=[SocketSpec(protocol="tcp", address=bytes(4), port=80)]))


@pytest.mark.parametrize(
    "flags,tos,offer,answer",
    [
        ("S", 0, b"", "SA 0 1 win 64240 020405b4"),
        ("S", 0, MSS, "SA 0 1 win 64240 020405b4"),
        ("S", 0, MSS + b"\x01\x01" + SACK, "SA 0 1 win 64240 020405b401010402"),
        ("S", 0, MSS + b"\x01\x01" + STAMP77, "SA 0 1 win 65160 020405b40101080aTSTSTSTS0000004d"),
        (
            "S",
            0,
            MSS + SACK + STAMP77 + SCALE7,
            "SA 0 1 win 65160 020405b40402080aTSTSTSTS0000004d0103030a",
        ),
        ("S", 0x10, MSS + b"\x01\x03\x03\x00", "SA 0 1 win 64240 020405b40103030a"),
        ("SEC", 0, MSS, "SAE 0 1 win 64240 020405b4"),
        ("SEC", 2, MSS, "SA 0 1 win 64240 020405b4"),
        ("SEC", 0xB8, MSS, "SAE 0 1 win 64240 020405b4"),
        ("SP", 0, MSS, "SA 0 1 win 64240 020405b4"),
        ("SU", 0, bytes.fromhex("02042328"), "SA 0 1 win 64240 020405b4"),
    ],
)
def test_a_syn_is_answered(server: Any, flags: str, tos: int, offer: bytes, answer: str) -> None:
    peer = Peer(server, tos=tos)
    line, *drops = peer.send(flags, options=offer)
    packet = server.out[0][1][14:]
    header = IPv4(bytearray(packet))
    assert (
        header.identification,
        header.dont_fragment,
        header.tos,
        header.ttl,
    ) == (0, True, 0, 64)
    options = TCP(bytearray(packet), 20).options.hex()
    at = options.find("080a")
    if at >= 0:
        options = options[: at + 4] + "TSTSTSTS" + options[at + 12 :]
    letters, rest = line.split(" ", 1)
    assert sorted(answer.split(" ", 1)[0]) == sorted(letters)
    assert answer.split(" ", 1)[1] == f"{rest} {options}"
    assert drops == []


@pytest.mark.parametrize(
    "flags,expected",
    [
        ("A", ["R 5 0 win 0", "! TCP_FLAGS"]),
        ("SA", ["R 5 0 win 0", "! TCP_FLAGS"]),
        ("FA", ["R 5 0 win 0", "! TCP_FLAGS"]),
        ("R", ["! TCP_RESET"]),
        ("SR", ["! TCP_RESET"]),
        ("", ["! TCP_FLAGS"]),
        ("F", ["! TCP_FLAGS"]),
        ("FS", ["! TCP_FLAGS"]),
    ],
)
def test_odd_segments_to_a_listener(server: Any, flags: str, expected: list[str]) -> None:
    assert expected == Peer(server).send(flags, 0, 5)


def test_a_connection(server: Any) -> None:
    """One segment after another, as the kernel took them."""
    peer = Peer(server)
    assert peer.send("S", options=MSS) == ["SA 0 1 win 64240"]
    assert peer.send("S", options=MSS) == ["SA 0 1 win 64240", "! NOT_SPECIFIED"]
    assert peer.send("A", 1, 5) == ["R 5 0 win 0", "! TCP_FLAGS"]
    assert peer.send("P", 1, 0, b"x") == ["! NOT_SPECIFIED"]
    assert peer.send("A", 1, 1) == []
    assert peer.send("PA", 1, 1, b"hello") == ["A 1 6 win 64235"]
    assert peer.send("PA", 1, 1, b"hello") == ["A 1 6 win 64235", "! TCP_OLD_DATA"]
    assert peer.send("PA", 3, 1, b"llo world") == ["A 1 12 win 64229"]
    assert peer.send("PA", 30, 1, b"hello") == ["A 1 12 win 64229"]
    assert peer.send("A", 12, 1) == []
    assert peer.send("A", 11, 1) == ["A 1 12 win 64229", "! TCP_OLD_SEQUENCE"]
    assert peer.send("A", 11, 1) == ["! TCP_OLD_SEQUENCE"]
    server.wait(0.6)
    assert peer.send("S", 12) == ["A 1 12 win 64229", "! TCP_INVALID_SYN"]
    assert peer.send("PA", 12, 100000, b"x") == ["! TCP_ACK_UNSENT_DATA"]
    assert peer.send("R", 99999999) == ["! TCP_INVALID_SEQUENCE"]
    assert peer.send("FA", 12, 1) == []
    server.wait(0.039)
    assert server.out == []
    server.wait(0.002)
    assert peer.describe(server.out[0][1][14:]) == "A 1 13 win 64228"
    assert peer.send("PA", 13, 1, b"x") == ["! NOT_SPECIFIED"]
    assert peer.send("FA", 12, 1) == ["A 1 13 win 64228", "! TCP_OLD_DATA"]
    peer.send("R", 13)
    assert peer.send("A", 13, 1) == ["R 1 0 win 0", "! TCP_FLAGS"]


def test_a_fin_without_data_is_acknowledged_at_the_next_jiffy(server: Any) -> None:
    peer = Peer(server)
    peer.send("S", options=MSS)
    peer.send("A", 1, 1)
    assert peer.send("FA", 1, 1) == []
    server.wait(0.004)
    assert peer.describe(server.out[0][1][14:]) == "A 1 2 win 64239"


def test_the_window_is_scaled_once_the_peer_can(server: Any) -> None:
    peer = Peer(server)
    peer.send("S", options=MSS + SACK + STAMP77 + SCALE7)
    stamp = bytes.fromhex("0101080a0000004e00000000")
    assert peer.send("A", 1, 1, options=stamp) == []
    assert peer.send("PA", 1, 1, b"hello", options=stamp) == ["A 1 6 win 64"]
    old = bytes.fromhex("0101080a0000000500000000")
    assert peer.send("PA", 6, 1, b"hello", options=old) == ["A 1 6 win 64", "! TCP_RFC7323_PAWS"]


def test_what_came_early_is_told_by_sack(server: Any) -> None:
    peer = Peer(server)
    peer.send("S", options=MSS + b"\x01\x01" + SACK)
    peer.send("A", 1, 1)
    peer.send("PA", 101, 1, bytes(100))
    packet = server.out[0][1][14:]
    assert TCP(bytearray(packet), 20).options.hex() == "0101050a" + "0000044d" + "000004b1"
    assert peer.send("PA", 1, 1, bytes(100)) == ["A 1 201 win 64040"]


def test_an_embryonic_connection_ends_on_rst_or_syn(server: Any) -> None:
    for flags, expected in (("R", ["! NOT_SPECIFIED"]), ("S", ["RA 0 2 win 0", "! NOT_SPECIFIED"])):
        peer = Peer(server, port=6000)
        peer.send("S")
        answer = peer.send(flags, 1)
        assert [line.replace(f"{-peer.isn & 0xFFFFFFFF}", "0") for line in answer] == expected
        assert not server.net.generic(TcpConnections).socks


def test_a_rst_beside_the_sequence_is_asked_back_in_syn_recv(server: Any) -> None:
    peer = Peer(server)
    peer.send("S")
    assert peer.send("R", 21) == ["A 1 1 win 64240", "! NOT_SPECIFIED"]
    assert peer.send("R", 22) == ["! NOT_SPECIFIED"]
    assert peer.send("R", 0) == ["! TCP_OVERWINDOW"]
    assert peer.send("A", 1, 1) == []


def test_the_syn_ack_is_sent_five_times_more(server: Any) -> None:
    """After 1, 2, 4, 8 and 16 seconds; 32 s later the peer is forgotten."""
    Peer(server).send("S")
    for seconds, sent in ((0.9, 1), (0.2, 2), (2, 3), (4, 4), (8, 5), (16, 6), (31.8, 6)):
        server.wait(seconds)
        assert sent == len(server.out)
    assert server.net.generic(TcpConnections).socks
    server.wait(0.2)
    assert not server.net.generic(TcpConnections).socks
