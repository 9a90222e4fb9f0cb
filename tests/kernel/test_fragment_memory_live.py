"""Fragments in memory, how many and how near each other, against the live kernel."""

from __future__ import annotations

import re

import pytest

from netemu.livekernel.case import Case, InputFrame
from netemu.livekernel.verify import verify_case
from netemu.sim.spec import (
    AddressSpec,
    LinkSpec,
    NamespaceSpec,
    NeighbourSpec,
    NodeSpec,
    TextFile,
)
from netemu.wire.address import parse_address, parse_mac
from netemu.wire.icmp import build_icmp
from netemu.wire.ipv4 import build_ipv4

MAC, HOST_MAC = parse_mac("02:00:00:00:01:00"), parse_mac("02:00:00:00:0a:01")
OWN, HOST = parse_address("10.0.0.1"), parse_address("10.0.0.2")


def node(high_thresh: int, rules: str = "") -> NodeSpec:
    """Return a host that answers pings."""
    return NodeSpec(
        main=NamespaceSpec(
            links=[
                LinkSpec(name="lo", ifindex=1, kind="loopback", mtu=65536, noarp=True),
                LinkSpec(name="eth0", ifindex=2, mac=MAC),
            ],
            addresses=[
                AddressSpec(device="lo", address=parse_address("127.0.0.1"), prefix_len=8,
                            scope="host"),
                AddressSpec(device="eth0", address=OWN, prefix_len=24,
                            broadcast=parse_address("10.0.0.255")),
            ],
            neighbours=[
                NeighbourSpec(device="eth0", address=HOST, mac=HOST_MAC, state="PERMANENT")
            ],
            sysctls={
                "net.ipv4.ipfrag_low_thresh": "1000",
                "net.ipv4.ipfrag_high_thresh": str(high_thresh),
            },
            rules4=TextFile(name="rules", text=rules) if rules else None,
            sockets=[],
        )
    )  # fmt: skip


def ping(ident: int, octets: int) -> tuple[bytes, bytes]:
    """Return an echo request in two fragments, the first of `octets`."""
    message = bytes(
        build_icmp(icmp_type=8, code=0, rest=ident << 16 | 1, payload=bytes(octets + 8))
    )
    halves = []
    for start, end in ((0, octets), (octets, len(message))):
        packet = build_ipv4(
            src=HOST, dst=OWN, protocol=1, payload=message[start:end], identification=ident,
            more_fragments=not start, fragment_offset=start // 8,
        )  # fmt: skip
        halves.append(MAC + HOST_MAC + b"\x08\x00" + bytes(packet))
    return halves[0], halves[1]


@pytest.mark.parametrize("high_thresh", [1500, 6000, 10000, 14700])
def test_as_many_packets_are_put_together(high_thresh: int) -> None:
    """First all first fragments, of many sizes, then all second ones, then a whole packet."""
    pings = [ping(number, 8 * (number**2 % 170 + 1)) for number in range(1, 13)]
    frames = [first for first, _ in pings] + [second for _, second in reversed(pings)]
    frames += ping(99, 600)
    inputs = [
        InputFrame(device="eth0", time_ns=number * 20_000, frame=frame)
        for number, frame in enumerate(frames)
    ]
    outcome = verify_case(Case(node=node(high_thresh), inputs=list(inputs), name="memory"))
    assert outcome.difference is None, str(outcome.difference)
    answered = len(outcome.kernel.frames["eth0"])
    assert 0 <= answered < 13, answered


SIZES = (
    (160, 40), (160, 160), (200, 24, 24, 24), (1400, 1408), (144, 440, 24), (24,) * 5,
    (1000, 1000), (8, 8, 192), (480, 200, 8), (1480, 240, 16), (152,) * 9,
)  # fmt: skip


def echo_in_parts(ident: int, sizes: tuple[int, ...], word_at: int) -> list[bytes]:
    """Return an echo request with a word in it, in parts."""
    message = bytearray(sum(sizes))
    message[word_at : word_at + 4] = b"WXYZ"
    payload = bytes(message[8:])
    whole = bytes(build_icmp(icmp_type=8, code=0, rest=ident << 16 | 1, payload=payload))
    frames, start = [], 0
    for size in sizes:
        packet = build_ipv4(
            src=HOST, dst=OWN, protocol=1, payload=whole[start : start + size],
            identification=ident, more_fragments=start + size < len(whole),
            fragment_offset=start // 8,
        )  # fmt: skip
        frames.append(MAC + HOST_MAC + b"\x08\x00" + bytes(packet))
        start += size
    return frames


def test_parts_are_merged_where_a_string_is_found_across_them() -> None:
    """Boyer-Moore finds nothing that lies in two parts; small parts become one."""
    text = "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n"
    text += '-A INPUT -m string --string "WXYZ" --algo bm --to 65535\nCOMMIT\n'
    frames: list[bytes] = []
    for sizes in SIZES:
        for boundary in range(1, len(sizes)):
            at = sum(sizes[:boundary]) - 2
            frames += echo_in_parts(100 + len(frames), sizes, at)
    inputs = [
        InputFrame(device="eth0", time_ns=number * 20_000, frame=frame)
        for number, frame in enumerate(frames)
    ]
    outcome = verify_case(Case(node=node(4194304, text), inputs=list(inputs), name="merged"))
    assert outcome.difference is None, str(outcome.difference)
    found = re.search(r"\[(\d+):\d+\] -A INPUT", outcome.kernel.rules[""])
    assert found is not None
    assert 0 < int(found[1]) < sum(len(sizes) - 1 for sizes in SIZES)
