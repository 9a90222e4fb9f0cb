"""What is read of an FTP dialogue; whole dialogues are asked of the kernel in tests/kernel."""

from __future__ import annotations

import pytest

from netemu.netfilter.ipvs.ftp import MODULES, find, in4_pton, load_module
from netemu.wire.address import format_address
from netemu.wire.packet_text import parse_packet
from netemu.wire.tcp import MIN_HEADER_LEN
from tests.netfilter.ipvs.conftest import OUR_MAC, THEIR_MAC

OWN = bytes((10, 0, 0, 2))


@pytest.mark.parametrize(
    ("line", "pattern", "skip", "extended", "found"),
    [
        ("227 Entering Passive Mode (10,0,0,2,4,1).", "227 ", "(", False, "10.0.0.2:1025 27-39"),
        ("227 ok 10,0,0,2,4,1 ", "227 ", "(", False, "10.0.0.2:1025 7-19"),
        ("227 ok 10,0,0,2,4,1", "227 ", "(", False, ""),  # nothing follows: it may go on
        ("227 (10,0,0,2,4).", "227 ", "(", False, ""),
        ("port 10,0,0,9,260,1\r\n", "PORT", " ", False, "10.0.0.9:1025 5-19"),
        ("PORT\r\n", "PORT", " ", False, ""),
        ("EPRT |1|10.0.0.9|1025|\r\n", "EPRT", " ", True, "10.0.0.9:1025 5-22"),
        ("EPRT !1!10.0.0.9!1025!", "EPRT", " ", True, "10.0.0.9:1025 5-22"),
        ("EPRT |2|10.0.0.9|1025|", "EPRT", " ", True, ""),
        ("EPRT |1|10.0.0.256|1025|", "EPRT", " ", True, ""),
        ("EPRT |1|10.0.0.9|0|", "EPRT", " ", True, ""),
        ("EPRT |||1025|", "EPRT", " ", True, ""),
    ],
)
def test_endpoints(line, pattern, skip, extended, found):
    named = find(line.encode(), pattern.encode(), skip, extended=extended)
    text = ""
    if named is not None:
        text = f"{format_address(named.address)}:{named.port} {named.start}-{named.end}"
    assert found == text


def test_the_answer_to_epsv_means_its_sender():
    named = find(b"229 Entering (|||1025|)", b"229 ", "(", extended=True, own=OWN)
    assert named is not None
    assert (named.address, named.port) == (OWN, 1025)


@pytest.mark.parametrize("text", ["10.0.0|", "10..0.1|", "10.0.0.1.2|", "10.0.0.x|", "|"])
def test_what_is_no_address(text):
    assert in4_pton(text.encode(), 0, ord("|")) is None


def control(balancer, module):
    """Return what the client and the server hear of each other in a PASV dialogue."""
    node = balancer("-A -t 10.96.0.1:21 -s rr\n-a -t 10.96.0.1:21 -r 10.0.0.2:21 -m")
    if module:
        load_module(node.net, module)

    def tell(device, text):
        frame = parse_packet(text).frame(dst_mac=OUR_MAC, src_mac=THEIR_MAC)
        fate = node.node.receive(device, frame)
        return [bytes(sent.frame[34 + MIN_HEADER_LEN :]) for sent in fate.frames]

    tell("eth0", "tcp 192.0.2.9:4000 > 10.96.0.1:21 S seq=1 ack=0")
    tell("eth1", "tcp 10.0.0.2:21 > 192.0.2.9:4000 SA seq=1 ack=2")
    tell("eth0", "tcp 192.0.2.9:4000 > 10.96.0.1:21 A seq=2 ack=2")
    passive = b"PASV\r\n".hex()
    answer = b"227 ok (10,0,0,2,4,1)\r\n".hex()
    asked = tell("eth0", f"tcp 192.0.2.9:4000 > 10.96.0.1:21 PA seq=2 ack=2 payload=0x{passive}")
    told = tell("eth1", f"tcp 10.0.0.2:21 > 192.0.2.9:4000 PA seq=2 ack=8 payload=0x{answer}")
    return asked, told, node


def test_a_passive_answer_names_the_virtual_server(balancer):
    asked, told, node = control(balancer, MODULES[0])
    assert (asked, told) == ([b"PASV\r\n"], [b"227 ok (10,96,0,1,4,1)\r\n"])
    sent = node.send("tcp 192.0.2.9:4001 > 10.96.0.1:1025 S")
    assert sent == ["eth1 192.0.2.9:4001 > 10.0.0.2:1025"]


def test_without_the_module_nobody_reads(balancer):
    _, told, _ = control(balancer, "")
    assert told == [b"227 ok (10,0,0,2,4,1)\r\n"]
