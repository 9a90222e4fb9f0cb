"""Listeners of netemu choose the first sequence numbers that the kernel's chose."""

from __future__ import annotations

import pytest

from netemu.livekernel.case import Case, InputFrame, OutputFrame, Result
from netemu.livekernel.emulator import emulate_case
from netemu.livekernel.first_numbers import Acknowledgements, first_numbers
from netemu.sim.spec import (
    AddressSpec,
    LinkSpec,
    NamespaceSpec,
    NeighbourSpec,
    NodeSpec,
    SocketSpec,
    TextFile,
)
from netemu.wire.address import parse_address
from netemu.wire.fields import get32
from netemu.wire.ipv4 import build_ipv4
from netemu.wire.tcp import build_tcp

A, B = parse_address("10.0.0.1"), parse_address("10.0.0.2")
NODE_MAC, HOST_MAC = b"\x02\0\0\0\0\1", b"\x02\0\0\0\0\2"
LINE = (
    "TRACE: raw:OUTPUT:policy:1 IN= OUT=eth0 SRC=10.0.0.1 DST=10.0.0.2 LEN=44 TOS=0x00 PREC=0x00 "
    "TTL=64 ID=0 DF PROTO=TCP SPT=80 DPT=4 SEQ=777 ACK=1001 WINDOW=64240 RES=0x00 ACK SYN URGP=0 "
)


def segment(
    src: bytes, dst: bytes, *, seq: int, ack: int, flags: int, payload: bytes = b""
) -> bytes:
    ports = (80, 4) if src == A else (4, 80)
    body = build_tcp(
        src=src,
        dst=dst,
        src_port=ports[0],
        dst_port=ports[1],
        seq=seq,
        ack=ack,
        flags=flags,
        payload=payload,
    )
    macs = HOST_MAC + NODE_MAC if src == A else NODE_MAC + HOST_MAC
    return macs + b"\x08\x00" + bytes(build_ipv4(src=src, dst=dst, protocol=6, payload=body))


SYN = segment(B, A, seq=1000, ack=0, flags=2)
SYN_ACK = segment(A, B, seq=777, ack=1001, flags=0x12)


def sent(frame: bytes) -> Result:
    return Result(frames={"eth0": [OutputFrame(time_ns=0, frame=frame)]})


def test_numbers_come_from_frames_and_from_the_log() -> None:
    assert first_numbers([SYN], sent(SYN_ACK)) == {1000: [777]}
    assert first_numbers([SYN], Result(log=[LINE])) == {1000: [777]}
    again = sent(segment(A, B, seq=888, ack=1001, flags=0x12))
    again.log = [LINE, LINE]
    assert first_numbers([SYN], again) == {1000: [777, 888]}


def test_a_number_that_came_in_is_no_draw() -> None:
    assert first_numbers([SYN, SYN_ACK], sent(SYN_ACK)) == {1000: []}


def server(rules: str = "") -> NodeSpec:
    """A node that listens on port 80."""
    main = NamespaceSpec(
        links=[LinkSpec(name="eth0", ifindex=2, mac=NODE_MAC)],
        addresses=[AddressSpec(device="eth0", address=A, prefix_len=24)],
        neighbours=[NeighbourSpec(device="eth0", address=B, mac=HOST_MAC, state="PERMANENT")],
        sockets=[SocketSpec(protocol="tcp", address=bytes(4), port=80)],
        rules4=TextFile(name="rules", text=rules) if rules else None,
    )
    return NodeSpec(main=main)


@pytest.mark.parametrize("isn", [5, 0xFFFFFFFF])
def test_netemu_draws_what_the_kernel_drew(isn: int) -> None:
    case = Case(node=server(), inputs=[InputFrame(device="eth0", time_ns=0, frame=SYN)])
    kernel = sent(segment(A, B, seq=isn, ack=1001, flags=0x12))
    (answer,) = emulate_case(case, kernel).frames["eth0"]
    assert get32(answer.frame, 14 + 20 + 4) == isn


def test_acknowledgements_follow_the_second_run() -> None:
    ack = segment(B, A, seq=1001, ack=778, flags=0x10)
    answer = Acknowledgements([SYN, ack], sent(SYN_ACK))
    assert answer.translate(ack) == ack
    answer.heard(segment(A, B, seq=888, ack=1001, flags=0x12))
    assert answer.translate(ack) == segment(B, A, seq=1001, ack=889, flags=0x10)
    other = segment(B, A, seq=1001, ack=5, flags=0x10)
    assert answer.translate(other) == other


TRACE_OUTPUT = "*raw\n:PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -j TRACE\nCOMMIT\n"


def test_the_rst_for_data_behind_a_fin_is_nobodys() -> None:
    """Linux 6.18: the connection's own RST has no UID, the listener's next one has."""
    frames = [
        SYN,
        segment(B, A, seq=1001, ack=778, flags=0x10),
        segment(B, A, seq=1001, ack=778, flags=0x11),
        segment(B, A, seq=1001, ack=778, flags=0x10, payload=b"late"),
        segment(B, A, seq=1001, ack=778, flags=0x10, payload=b"late"),
    ]
    inputs = [
        InputFrame(device="eth0", time_ns=number * 1_000_000, frame=frame)
        for number, frame in enumerate(frames)
    ]
    case = Case(node=server(TRACE_OUTPUT), inputs=list(inputs))
    log = emulate_case(case, sent(SYN_ACK)).log
    resets = [line for line in log if " RST " in line]
    assert [" UID=" in line for line in resets] == [False, True]
