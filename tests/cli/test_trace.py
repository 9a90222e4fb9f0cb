"""`netemu trace`: what goes in, what comes out, which exit code."""

from __future__ import annotations

import io
import json
import struct

import pytest

from netemu.cli.trace import split_number
from netemu.wire.packet_text import parse_packet
from netemu.wire.pcap import PcapWriter
from netemu.wire.pcapng import read_pcapng

SYN = "tcp 192.0.2.9:40000 > 10.96.0.10:80 S"
ADDR = ("--addr", "cni0=10.244.1.1/24")
DEVICE = bytes.fromhex("020000010002")


def test_the_text_begins_with_the_verdict(netemu, rules):
    done = netemu("trace", rules, SYN, *ADDR)
    assert done.code == 0
    assert done.out.startswith("ACCEPT  left through cni0 as tcp 192.0.2.9:40000 > 10.244.1.")
    stages = [line[2:14].strip() for line in done.out.splitlines()[2:]]
    order = [stage for stage in stages if stage and not stage.startswith("#")]
    assert order[:6] == ["L2", "PREROUTING", "ROUTE", "FORWARD", "POSTROUTING", "L2 OUT"]
    assert "\033" not in done.out
    assert "rules only: assumed are" in done.err


def test_the_answer_comes_back_with_the_service_as_its_source(netemu, rules):
    done = netemu("trace", rules, SYN, "--reply", *ADDR)
    answer = done.out.partition("\nthe answer\n")[2]
    first = "ACCEPT  left through eth0 as tcp 10.96.0.10:80 > 192.0.2.9:40000 S."
    assert answer.startswith(first)


def test_every_rule_tried_with_what_failed(netemu, rules):
    done = netemu("trace", rules, "udp 192.0.2.9:1 > 10.96.0.10:80", "--all", *ADDR)
    assert "no -p tcp, it is udp" in done.out
    assert done.out.startswith("DROP  NETFILTER_DROP by the policy of filter/FORWARD")


def test_json_is_one_object_with_the_promised_fields(netemu, rules):
    done = netemu("trace", rules, SYN, "--format", "json", "--outcomes", "--reply", *ADDR)
    found = json.loads(done.out)
    assert {"verdict", "reason", "events", "packet_in", "packets_out", "rules_visited"} <= set(
        found
    )
    assert [row["probability"] for row in found["outcomes"]] == ["1/2", "1/2"]
    assert {row["dnat"] for row in found["outcomes"]} == {"10.244.1.5:80", "10.244.1.6:8080"}
    assert {row["delivered_to"] for row in found["outcomes"]} == {"port:cni0"}
    assert found["reply"]["verdict"] == "ACCEPT"
    assert netemu("trace", rules, SYN, "--json", *ADDR).out.startswith('{\n  "schema"')
    assert done.err == ""


def test_the_same_seed_gives_the_same_bytes(netemu, rules):
    first, second = (netemu("trace", rules, SYN, "--json", *ADDR).out for _ in range(2))
    assert first == second


def test_kernel_lines_are_those_of_a_traced_packet(netemu, rules):
    done = netemu("trace", rules, SYN, "--format", "kernel", *ADDR)
    assert done.out.splitlines()[0].startswith("TRACE: nat:PREROUTING:rule:1 IN=eth0 OUT= MAC=")
    assert any(line.startswith("TRACE: filter:FORWARD:rule:2 ") for line in done.out.splitlines())


def test_hops_go_to_a_capture_beside_the_text(netemu, rules, tmp_path):
    path = tmp_path / "hops.pcapng"
    done = netemu("trace", rules, SYN, "-w", str(path), *ADDR)
    frames = list(read_pcapng(io.BytesIO(path.read_bytes()).read, "x"))
    assert {frame.interface for frame in frames} == {"eth0", "cni0"}
    assert done.out.startswith("ACCEPT")
    piped = netemu("trace", rules, SYN, "--format", "pcapng", *ADDR)
    assert piped.raw == path.read_bytes()


def test_html_to_a_file(netemu, rules, tmp_path):
    pytest.importorskip("jinja2")
    path = tmp_path / "trace.html"
    assert netemu("trace", rules, SYN, "-w", str(path), *ADDR).code == 0
    assert path.read_text().startswith("<!doctype html>")


@pytest.mark.parametrize("expected,code", [("accept", 0), ("DROP", 1)])
def test_expect(netemu, rules, expected, code):
    assert netemu("trace", rules, SYN, "--expect", expected, *ADDR).code == code


def test_strict_leaves_neighbours_unresolved(netemu, rules):
    done = netemu("trace", rules, SYN, "--strict", *ADDR)
    assert done.out.startswith("STOLEN  still held, waits for neighbour 10.244.1.")


def test_a_packet_of_the_node_itself(netemu, rules):
    done = netemu("trace", rules, "udp 192.0.2.1:1 > 192.0.2.7:2", "--local", *ADDR)
    assert "sent by the node" in done.out
    assert done.out.startswith("ACCEPT  left through eth0")


def test_scapy_expressions(netemu, rules):
    text = "IP(src='192.0.2.9', dst='10.96.0.10')/TCP(sport=5, dport=80, flags='S')"
    done = netemu("trace", rules, "--scapy", text, *ADDR)
    assert done.out.startswith("ACCEPT  left through cni0 as tcp 192.0.2.9:5 > ")
    assert netemu("trace", rules, SYN, "--scapy", text).code == 2


def test_colours_when_asked_for(netemu, rules, monkeypatch):
    assert "\033[" in netemu("trace", rules, SYN, "--color", "always", *ADDR).out
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\033[" in netemu("trace", rules, SYN, *ADDR).out
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\033[" not in netemu("trace", rules, SYN, *ADDR).out


def capture(tmp_path, *texts, cut=0):
    path = tmp_path / "in.pcap"
    with path.open("wb") as stream:
        writer = PcapWriter(stream.write)
        for number, text in enumerate(texts, 1):
            frame = parse_packet(text).frame(dst_mac=DEVICE)
            kept = frame[: len(frame) - cut]
            writer.write(1_700_000_000_000_000_000 + number, kept, len(frame))
    return str(path)


def test_a_frame_of_a_capture_meets_what_the_earlier_ones_left(netemu, rules, tmp_path):
    path = capture(tmp_path, SYN, SYN, "udp 192.0.2.9:1 > 10.96.0.10:80")
    first = netemu("trace", rules, path, "--in", "eth0", *ADDR)
    assert "conntrack" in first.out and "NEW  new entry" in first.out
    second = netemu("trace", rules, f"{path}#2", "--in", "eth0", *ADDR)
    assert "new entry" not in second.out
    assert "nat/PREROUTING" not in second.out
    third = netemu("trace", rules, f"{path}#3", "--in", "eth0", *ADDR)
    assert third.out.startswith("DROP")
    lacking = netemu("trace", rules, f"{path}#4", "--in", "eth0", *ADDR)
    assert (lacking.code, lacking.err) == (
        3,
        f"{path}: there is no frame #4; the last usable one is #3\n",
    )


def test_a_cut_frame_is_dropped(netemu, rules, tmp_path):
    done = netemu("trace", rules, capture(tmp_path, SYN, cut=5), "--in", "eth0", *ADDR)
    assert done.out.startswith("DROP  CAPTURE_TRUNCATED\n")


def test_a_frame_that_the_node_sent_is_refused(netemu, rules, tmp_path):
    path = capture(tmp_path, f"{SYN} src-mac=02:00:00:01:00:02")
    done = netemu("trace", rules, path, "--in", "eth0")
    assert done.code == 3
    assert "frame #1 was sent by the node at eth0" in done.err


def test_numbers_of_frames():
    assert split_number("a#b.pcap") == ("a#b.pcap", 1)
    assert split_number("a.pcapng#12") == ("a.pcapng", 12)


def test_a_packet_before_makes_the_connection_known(netemu, tmp_path):
    """A SYN+ACK is dropped, unless the SYN before it was let out: by the node, or forwarded."""
    path = tmp_path / "closed.rules"
    path.write_text(
        "*filter\n:INPUT DROP [0:0]\n:FORWARD DROP [0:0]\n"
        "-A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT\n"
        "-A FORWARD -i lan -j ACCEPT\n"
        "-A FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT\nCOMMIT\n"
    )
    to_node = "tcp 198.51.100.1:80 > 192.0.2.1:40000 S."
    to_lan = "tcp 198.51.100.1:80 > 10.0.0.5:40000 S."
    route = ("--route", "10.0.0.0/8,dev=lan")
    for packet, before in (
        (to_node, "tcp 192.0.2.1:40000 > 198.51.100.1:80 S"),
        (to_lan, "lan=tcp 10.0.0.5:40000 > 198.51.100.1:80 S"),
    ):
        assert "DROP" in netemu("trace", str(path), packet, *route).out.splitlines()[0]
        done = netemu("trace", str(path), packet, "--after", before, *route)
        assert "NETFILTER_DROP" not in done.out
        assert "--ctstate ESTABLISHED -j ACCEPT" in done.out


@pytest.mark.parametrize(
    "arguments,code,message",
    [
        (("RULES", SYN, "--after", "eth9=tcp 1.1.1.1:1 > 2.2.2.2:2"), 2, "no device 'eth9'"),
        (("RULES", SYN, "--after", "tcp 1.1.1.1:1 > 2.2.2.2"), 3, "<packet>:1:17: '2.2.2.2' lacks"),
        (("RULES", "tcp 1.1.1.1:1 > 2.2.2.2"), 3, "<packet>:1:17: '2.2.2.2' lacks its port"),
        (("RULES", "no such packet"), 3, "'no' is no packet kind"),
        (("RULES", "missing.pcap"), 3, "missing.pcap: cannot be read (No such file"),
        (("RULES",), 2, "give a PACKET"),
        (("RULES", SYN, "--in", "eth9"), 2, "the node has no device 'eth9'; it has "),
        (("missing.rules", SYN), 3, "missing.rules: cannot be read"),
        (("RULES", SYN, "--time", "noon"), 2, "'noon' is no time"),
        (("RULES", SYN, "--format", "xml"), 2, "'xml' is not one of"),
        (("RULES", "--scapy", "IP("), 3, "<scapy>:1:3: this is no Scapy expression"),
    ],
)
def test_what_is_wrong_is_one_message_and_an_exit_code(netemu, rules, arguments, code, message):
    done = netemu("trace", *(rules if word == "RULES" else word for word in arguments))
    assert done.code == code
    assert message in done.err
    assert "Traceback" not in done.err
    assert done.out == ""


def test_a_broken_rule_has_its_place(netemu, tmp_path):
    path = tmp_path / "bad.rules"
    path.write_text(
        "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -p tcp --dport http80 -j ACCEPT\nCOMMIT\n"
    )
    done = netemu("trace", str(path), SYN)
    assert done.code == 3
    assert done.err.startswith(f"{path}:3:")
    assert "^" in done.err.splitlines()[-1]


def test_another_link_type_is_one_line(netemu, rules, tmp_path):
    path = tmp_path / "wifi.pcap"
    path.write_bytes(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 105))
    done = netemu("trace", rules, str(path), "--in", "eth0")
    assert (done.code, done.err.count("\n")) == (3, 1)
    assert "link type 105 (IEEE 802.11)" in done.err
