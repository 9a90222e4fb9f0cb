"""What the other end answers."""

from __future__ import annotations

import pytest

from netemu.wire.answer import answer_to
from netemu.wire.checksum import internet_checksum, l4_checksum
from netemu.wire.describe import describe_frame
from netemu.wire.packet_text import parse_packet
from netemu.wire.tcp import TCP

DEVICE = bytes.fromhex("020000000099")
SENDER = bytes.fromhex("020000000055")


@pytest.mark.parametrize(
    "asked,answered",
    [
        ("tcp 10.0.0.1:5 > 10.0.0.2:80 S", "tcp 10.0.0.2:80 > 10.0.0.1:5 S."),
        ("tcp 10.0.0.1:5 > 10.0.0.2:80 P. payload=x", "tcp 10.0.0.2:80 > 10.0.0.1:5 ."),
        ("tcp 10.0.0.1:5 > 10.0.0.2:80 F.", "tcp 10.0.0.2:80 > 10.0.0.1:5 F."),
        ("udp 10.0.0.1:5 > 10.0.0.2:80", "udp 10.0.0.2:80 > 10.0.0.1:5"),
        (
            "icmp 10.0.0.1 > 10.0.0.2 echo id=7 seq=8",
            "icmp 10.0.0.2 > 10.0.0.1 echo-reply id=7 seq=8",
        ),
        (
            "arp who-has 10.0.0.2 tell 10.0.0.1",
            "arp reply 10.0.0.2 is-at 02:00:0a:00:00:02 to 10.0.0.1",
        ),
    ],
)
def test_answers(asked, answered):
    answer = answer_to(parse_packet(asked).frame(dst_mac=DEVICE, src_mac=SENDER))
    assert answer is not None
    assert describe_frame(answer) == answered
    assert answer[:6] == SENDER
    if answer[12:14] == b"\x08\x00":
        assert answer[6:12] == DEVICE
        assert internet_checksum(answer[14:34]) == 0
        if answer[23] != 1:
            assert l4_checksum(answer[26:30], answer[30:34], answer[23], answer[34:]) == 0


def test_a_syn_is_acknowledged_and_data_counted():
    syn = parse_packet("tcp 10.0.0.1:5 > 10.0.0.2:80 S seq=100").frame(dst_mac=DEVICE)
    answer = answer_to(syn)
    assert answer is not None
    view = TCP(bytearray(answer[34:]))
    assert (view.seq, view.ack) == (1, 101)
    data = parse_packet("tcp 10.0.0.1:5 > 10.0.0.2:80 P. seq=100 ack=7 payload=abc")
    answer = answer_to(data.frame(dst_mac=DEVICE))
    assert answer is not None
    view = TCP(bytearray(answer[34:]))
    assert (view.seq, view.ack) == (7, 103)


@pytest.mark.parametrize(
    "text",
    [
        "tcp 10.0.0.1:5 > 10.0.0.2:80 R",
        "icmp 10.0.0.1 > 10.0.0.2 type=3",
        "ip 10.0.0.1 > 10.0.0.2 proto=47",
        "arp reply 10.0.0.1 is-at 02:00:00:00:00:05",
    ],
)
def test_silence(text):
    assert answer_to(parse_packet(text).frame(dst_mac=DEVICE)) is None


def test_what_is_cut_short_gets_no_answer():
    frame = parse_packet("tcp 10.0.0.1:5 > 10.0.0.2:80 S").frame(dst_mac=DEVICE)
    assert [answer_to(frame[:size]) for size in (0, 14, 20, 33)] == [None] * 4
