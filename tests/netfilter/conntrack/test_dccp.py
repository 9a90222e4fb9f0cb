"""DCCP of the 6.1 profile, against what a Linux 6.1 did with the same packets."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from netemu.clock import Clock
from netemu.net import Net
from netemu.netfilter.conntrack.core import nf_confirm, nf_conntrack_in
from netemu.netfilter.conntrack.dccp import Type
from netemu.netfilter.conntrack.table import Conntrack
from netemu.netfilter.hook import Family, Hook, HookState
from netemu.skb import ETH_P_IP, Skb
from netemu.wire.address import parse_address
from netemu.wire.checksum import internet_checksum, pseudo_header_sum
from netemu.wire.ipv4 import build_ipv4

RECORDED = Path(__file__).parents[2] / "oracle" / "conntrack_dccp_6_1.txt"
HOSTS = {"o": parse_address("10.1.0.2"), "r": parse_address("10.2.0.2")}
BAD_TYPE = 10


def packet(
    side: str,
    kind: int,
    seq: int = 7,
    ack: int = 500,
    *,
    doff: int | None = None,
    coverage: int = 0,
    is_long: int = 1,
    extra: bytes = b"",
    bad: bool = False,
) -> bytes:
    """Return a packet; the checksum covers the header and what `coverage` adds to it."""
    src, dst = HOSTS[side], HOSTS["r" if side == "o" else "o"]
    ports = (1000, 80) if side == "o" else (80, 1000)
    body = seq.to_bytes(6, "big")
    if kind not in {Type.REQUEST, Type.DATA}:
        body += b"\0\0" + ack.to_bytes(6, "big")
    if kind in {Type.REQUEST, Type.RESPONSE}:
        body += b"svc1"
    if kind == Type.RESET:
        body += bytes(4)
    head = bytearray(ports[0].to_bytes(2, "big") + ports[1].to_bytes(2, "big"))
    head += bytes([0, coverage, 0, 0, kind << 1 | is_long, 0]) + body
    head[4] = len(head) // 4 if doff is None else doff
    head += extra
    covered = min(len(head), (coverage - 1) * 4 + head[4] * 4) if coverage else len(head)
    check = internet_checksum(bytes(head[:covered]), pseudo_header_sum(src, dst, 33, len(head)))
    head[6:8] = check.to_bytes(2, "big")
    head[6] ^= 0x55 if bad else 0
    return bytes(build_ipv4(src=src, dst=dst, protocol=33, payload=bytes(head), ttl=64))


def sequence(*steps: tuple[str, Type, int, int]) -> list[bytes]:
    return [packet(side, kind, seq, ack) for side, kind, seq, ack in steps]


OPENING = (
    ("o", Type.REQUEST, 7, 0),
    ("r", Type.RESPONSE, 500, 7),
    ("o", Type.ACK, 8, 500),
    ("r", Type.ACK, 501, 8),
)
REACHES = {
    "NONE": [],
    "REQUEST": sequence(*OPENING[:1]),
    "RESPOND": sequence(*OPENING[:2]),
    "PARTOPEN": sequence(*OPENING[:3]),
    "OPEN": sequence(*OPENING),
    "CLOSEREQ": sequence(*OPENING, ("r", Type.CLOSEREQ, 502, 8)),
    "CLOSING": sequence(*OPENING, ("o", Type.CLOSE, 9, 501)),
    "TIMEWAIT": sequence(*OPENING, ("r", Type.RESET, 502, 8)),
}
"""Packets that bring a connection into a state."""

REQUEST = packet("o", Type.REQUEST)
SEQUENCES = {
    "doff2": [packet("o", Type.REQUEST, doff=2)],
    "doff20": [packet("o", Type.REQUEST, doff=20)],
    "doff3": [packet("o", Type.REQUEST, doff=3)],
    "doff4": [packet("o", Type.REQUEST, doff=4)],
    "cscov1": [packet("o", Type.REQUEST, coverage=1, extra=b"data")],
    "cscov2": [packet("o", Type.REQUEST, coverage=2, extra=b"data")],
    "cscov15": [packet("o", Type.REQUEST, coverage=15, extra=b"data")],
    "bad": [packet("o", Type.REQUEST, bad=True)],
    "x0": [packet("o", Type.REQUEST, is_long=0)],
    "ackshort": [
        REQUEST,
        packet("r", Type.RESPONSE, doff=4),
        packet("r", Type.RESPONSE, doff=6),
        packet("r", Type.RESET, doff=6),
        packet("r", Type.ACK, doff=4),
    ],
    "resetonly": [REQUEST, packet("r", Type.RESET)],
    "wrongack": [
        REQUEST,
        packet("r", Type.RESPONSE, 500),
        packet("o", Type.ACK, 8, 499),
        packet("r", Type.ACK),
    ],
    "dataackfirst": [
        REQUEST,
        packet("r", Type.RESPONSE, 500),
        packet("o", Type.DATAACK, 8, 500),
        packet("r", Type.ACK),
    ],
    "resync": sequence(
        *OPENING,
        ("o", Type.REQUEST, 50, 0),
        ("r", Type.RESPONSE, 60, 50),
        ("o", Type.ACK, 51, 60),
    ),
    "reverse": REACHES["TIMEWAIT"]
    + sequence(
        ("r", Type.REQUEST, 50, 0),
        ("o", Type.RESPONSE, 60, 50),
        ("r", Type.ACK, 51, 60),
        ("o", Type.ACK, 61, 51),
    ),
    "resyncrev": sequence(
        *OPENING,
        ("r", Type.REQUEST, 50, 0),
        ("o", Type.RESPONSE, 60, 50),
        ("r", Type.ACK, 51, 60),
    ),
    "loose0": [
        packet("o", kind) for kind in (Type.ACK, Type.DATA, Type.SYNC, Type.RESPONSE, Type.REQUEST)
    ],
}


class Tracker:
    """A conntrack of 6.1 that says what a packet left."""

    def __init__(self) -> None:
        self.net = Net(clock=Clock(0, 250), kernel="6.1")
        self.net.sysctl.set("net.netfilter.nf_conntrack_log_invalid", "255")
        self.logs: list[str] = []
        self.net.nf_log_packet = lambda skb, state, prefix: self.logs.append(prefix.strip())

    def send(self, data: bytes) -> str:
        self.logs.clear()
        skb = Skb(data, protocol=ETH_P_IP, fate=self.net.new_fate())
        state = HookState(
            family=Family.IPV4, hook=Hook.PREROUTING, in_device=None, out_device=None,
            okfn=lambda skb: None,
        )  # fmt: skip
        nf_conntrack_in(self.net, skb, state)
        state.hook = Hook.POSTROUTING
        nf_confirm(self.net, skb, state)
        entry = re.sub(r"  +", " ", self.net.generic(Conntrack).dump().strip()) or "-"
        return f"{entry.removesuffix(' use=1')} ; {self.logs[0] if self.logs else '-'}"


def answers() -> dict[str, list[str]]:
    """Return what was recorded: name -> an answer per packet."""
    found: dict[str, list[str]] = {}
    for line in RECORDED.read_text().splitlines():
        if not line.startswith("#"):
            name, _, answer = line.partition(" ; ")
            found.setdefault(name, []).append(answer)
    return found


ANSWERS = answers()


def equal(expected: str, found: str) -> bool:
    """Compare but for a second in the timeout."""
    pattern = r"^dccp 33 (\d+)"
    seconds = [re.match(pattern, text) for text in (expected, found)]
    if all(seconds) and abs(int(seconds[0][1]) - int(seconds[1][1])) > 1:
        return False
    return re.sub(pattern, "", expected) == re.sub(pattern, "", found)


@pytest.mark.parametrize("name", ANSWERS)
def test_as_the_kernel_tracked_it(name: str) -> None:
    tracker = Tracker()
    if name in SEQUENCES:
        found = [tracker.send(data) for data in SEQUENCES[name]]
    else:
        state, side, kind = name.split()
        for data in REACHES[state]:
            tracker.send(data)
        number = BAD_TYPE if kind == "BAD" else Type[kind]
        found = [tracker.send(packet(side, number, 600, 700))]
    for expected, actual in zip(ANSWERS[name], found, strict=True):
        assert equal(expected, actual), (expected, actual)


def test_every_place_of_the_table_is_asked() -> None:
    rows = {name for name in ANSWERS if len(name.split()) == 3}
    assert len(rows) == len(REACHES) * 2 * (len(Type) + 1)


def test_6_18_tracks_it_by_addresses_only() -> None:
    tracker = Tracker()
    tracker.net.kernel = "6.18"
    assert tracker.send(REQUEST).startswith("dccp 33 600 src=10.1.0.2 dst=10.2.0.2 sport=0 dport=0")
