"""`netemu replay`: injection, comparison, the files it leaves."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path

import pytest

from netemu.wire.capture import Direction
from netemu.wire.packet_text import parse_packet
from netemu.wire.pcap import PcapWriter, read_pcap
from netemu.wire.pcapng_writer import PcapngWriter

SYN = "tcp 192.0.2.9:40000 > 10.96.0.10:80 S"
ADDR = ("--addr", "cni0=10.244.1.1/24")
ETH0 = bytes.fromhex("020000010002")
NOW = 1_700_000_000_000_000_000


@pytest.fixture
def hops(netemu, rules, tmp_path) -> str:
    """A capture of both ways of a connection, made by trace."""
    path = tmp_path / "hops.pcapng"
    assert netemu("trace", rules, SYN, "--reply", "-w", str(path), *ADDR).code == 0
    return str(path)


def write_pcap(path: Path, *items: tuple[int, str], link_type: int = 1) -> str:
    with path.open("wb") as stream:
        writer = PcapWriter(stream.write, link_type=link_type)
        for time_ns, text in items:
            frame = parse_packet(text).frame(dst_mac=ETH0)
            writer.write(NOW + time_ns, frame if link_type == 1 else frame[14:])
    return str(path)


def test_what_went_out_is_compared_with_the_capture(netemu, rules, hops):
    done = netemu("replay", rules, "--in", hops, "--assume-neighbours", *ADDR)
    assert done.code == 0
    assert "2 frames entered: 2 ACCEPT" in done.out
    assert "4 of 4 outgoing frames as captured" in done.out


def test_the_first_difference_is_shown_with_its_trace(netemu, rules, hops):
    done = netemu("replay", rules, "--in", hops, *ADDR)
    assert done.code == 1
    assert "2 of 4 outgoing frames as captured" in done.out
    assert "first difference at cni0" in done.out
    assert "netemu    sent no such frame" in done.out
    assert f"the packet behind it is {hops}#1:" in done.out
    assert "STOLEN  still held, waits for neighbour 10.244.1." in done.out


def test_a_frame_that_differs_is_paired_with_what_was_sent(netemu, rules, tmp_path):
    path = tmp_path / "pair.pcapng"
    with path.open("wb") as stream:
        writer = PcapngWriter(stream.write)
        eth0, cni0 = writer.add_interface("eth0"), writer.add_interface("cni0")
        came = parse_packet("udp 192.0.2.9:1 > 192.0.2.1:9").frame(dst_mac=ETH0)
        writer.write(eth0, NOW, came, direction=Direction.INBOUND)
        port = bytes.fromhex("020000c00002")
        other = parse_packet("icmp 192.0.2.1 > 192.0.2.9 type=3 code=1").frame(dst_mac=port)
        writer.write(eth0, NOW + 9, other, direction=Direction.OUTBOUND)
        writer.write(cni0, NOW + 10, other, direction=Direction.OUTBOUND)
    done = netemu("replay", rules, "--in", str(path), "--assume-neighbours", "--json", *ADDR)
    assert done.code == 1
    found = json.loads(done.out)
    assert found["expectations"]["met"] == 0
    assert found["first_difference"]["device"] == "eth0"
    assert found["first_difference"]["caused_by"] == {"file": str(path), "index": 1}


def test_the_directory_of_a_replay(netemu, rules, hops, tmp_path):
    out = tmp_path / "out"
    arguments = ("replay", rules, "--in", hops, "--assume-neighbours", "--out", str(out), *ADDR)
    assert netemu(*arguments).code == 0
    names = {path.name for path in out.iterdir()}
    assert names == {
        "cni0.pcap", "eth0.pcap", "conntrack", "iptables-save", "neigh", "trace.log",
        "verdicts.jsonl", "summary.json",
    }  # fmt: skip
    frames = list(read_pcap(io.BytesIO((out / "eth0.pcap").read_bytes()).read, "x"))
    assert len(frames) == 2
    assert (out / "conntrack").read_text().startswith("tcp      6 ")
    assert "[1:40] -A WEB" in (out / "iptables-save").read_text()
    records = [json.loads(line) for line in (out / "verdicts.jsonl").read_text().splitlines()]
    assert [(record["in"], record["verdict"]) for record in records] == [
        ("eth0", "ACCEPT"),
        ("cni0", "ACCEPT"),
    ]
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["seed"], summary["kernel"], summary["expectations"]["met"]) == (0, "6.18", 4)


def test_two_equal_runs_compare_equal(netemu, rules, hops, tmp_path):
    out = tmp_path / "out"
    base = ("replay", rules, "--in", hops, *ADDR)
    netemu(*base, "--assume-neighbours", "--out", str(out))
    same = netemu(*base, "--assume-neighbours", "--expect-same-as", str(out))
    assert (same.code, "not as expected" in same.out) == (0, False)
    other = netemu(*base, "--expect-same-as", str(out))
    assert other.code == 1
    assert "not as expected: cni0.pcap frame 2: tcp 192.0.2.9:40000 > " in other.out


def test_a_capture_of_ports_as_expectation(netemu, rules, hops):
    base = ("replay", rules, "--in", hops, "--assume-neighbours", *ADDR)
    assert netemu(*base, "--expect-same-as", hops).code == 0
    other = netemu("replay", rules, "--in", hops, *ADDR, "--expect-same-as", hops)
    assert other.code == 1


def test_frames_of_all_files_are_merged_by_time(netemu, rules, tmp_path):
    one = write_pcap(tmp_path / "one.pcap", (1, "udp 192.0.2.9:1 > 192.0.2.1:9"), (30, SYN))
    other = write_pcap(tmp_path / "other.pcap", (20, "icmp 10.244.1.5 > 10.244.1.1 echo"))
    out = tmp_path / "out"
    done = netemu(
        "replay", rules, "--in", f"eth0={one}", "--in", f"cni0={other}", "--out", str(out), *ADDR
    )  # fmt: skip
    assert done.code == 0
    records = [json.loads(line) for line in (out / "verdicts.jsonl").read_text().splitlines()]
    assert [(record["file"], record["index"]) for record in records] == [
        (one, 1),
        (other, 1),
        (one, 2),
    ]


def test_raw_and_compressed_captures(netemu, rules, tmp_path):
    path = write_pcap(tmp_path / "raw.pcap", (0, SYN), link_type=101)
    packed = tmp_path / "raw.pcap.gz"
    packed.write_bytes(gzip.compress(Path(path).read_bytes()))
    done = netemu("replay", rules, "--in", f"eth0={packed}", "--assume-neighbours", *ADDR)
    assert (done.code, "1 frames entered: 1 ACCEPT" in done.out) == (0, True)
    packed.write_bytes(packed.read_bytes()[:-12])
    broken = netemu("replay", rules, "--in", f"eth0={packed}")
    assert (broken.code, "the compressed file is damaged" in broken.err) == (3, True)


def test_an_outgoing_cooked_frame_is_compared_without_macs(netemu, rules, tmp_path):
    path = tmp_path / "sll.pcap"
    came = parse_packet("icmp 192.0.2.9 > 192.0.2.1 echo").network
    went = parse_packet("icmp 192.0.2.1 > 192.0.2.9 echo-reply ip-id=0 df=0").network

    def cooked(packet_type: int, packet: bytes) -> bytes:
        head = packet_type.to_bytes(2, "big") + b"\0\1\0\6" + ETH0 + b"\0\0\x08\x00"
        return head + packet

    with path.open("wb") as stream:
        writer = PcapWriter(stream.write, link_type=113)
        writer.write(NOW, cooked(0, came))
        writer.write(NOW + 1, cooked(4, went))
    done = netemu("replay", rules, "--in", f"eth0={path}", "--assume-neighbours", "--json")
    found = json.loads(done.out)
    assert found["expectations"]["met"] + found["expectations"]["unmet"] == 1
    assert found["verdicts"] == {"ACCEPT": 1}


def test_time_goes_on_after_the_last_frame(netemu, rules, tmp_path):
    path = write_pcap(tmp_path / "in.pcap", (0, SYN))
    out = tmp_path / "out"
    base = ("replay", rules, "--in", f"eth0={path}", "--assume-neighbours", *ADDR)
    netemu(*base, "--out", str(out), "--until", "100")
    assert (out / "conntrack").read_text().startswith("tcp      6 20 SYN_SENT ")
    netemu(*base, "--out", str(out), "--until", "121")
    assert (out / "conntrack").read_text() == ""
    assert netemu(*base, "--until", "-1").code == 2


@pytest.mark.parametrize(
    "source,code,message",
    [
        ("eth0=missing.pcap", 3, "missing.pcap: cannot be read"),
        ("=x", 2, "'=x' is not DEV=FILE"),
        ("eth9=PCAP", 2, "the node has no device 'eth9'"),
        ("PCAP", 3, "packet 1 does not say at which device of the node it was captured"),
        ("eth0=RULES", 3, "this is no pcap and no pcapng file"),
    ],
)
def test_bad_input(netemu, rules, tmp_path, source, code, message):
    path = write_pcap(tmp_path / "in.pcap", (0, SYN))
    done = netemu("replay", rules, "--in", source.replace("PCAP", path).replace("RULES", rules))
    assert (done.code, done.out) == (code, "")
    assert message in done.err


def test_a_damaged_capture_ends_the_run(netemu, rules, tmp_path):
    path = Path(write_pcap(tmp_path / "in.pcap", (0, SYN), (1, SYN)))
    path.write_bytes(path.read_bytes()[:-3])
    done = netemu("replay", rules, "--in", f"eth0={path}")
    assert done.code == 3
    assert "the file ends within packet 2" in done.err


def test_an_empty_capture_is_fine(netemu, rules, tmp_path):
    path = write_pcap(tmp_path / "empty.pcap")
    done = netemu("replay", rules, "--in", f"eth0={path}")
    assert (done.code, done.out) == (0, "0 frames entered: none\n0 frames left\n")
