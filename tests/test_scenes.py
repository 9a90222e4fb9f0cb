"""Every recorded scene: netemu sends what the kernel sent, and holds and logs what it held."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from netemu.cli import cli
from netemu.cli.run import run
from netemu.livekernel.sets import first_set_difference
from netemu.wire.address import parse_mac
from netemu.wire.capture import LinkType
from netemu.wire.capture_file import read_capture
from netemu.wire.pcap import PcapWriter

ROOT = Path(__file__).parent.parent
SCENES = sorted(path.stem for path in (ROOT / "captures").glob("*.pcapng"))

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="following a capture needs fork")


def rules_of(text: str) -> dict[str, list[str]]:
    """Return the lines of each table; the kernel's order of tables is its own."""
    tables: dict[str, list[str]] = {}
    table: list[str] = []
    for line in text.splitlines():
        if line.startswith("*"):
            table = tables.setdefault(line, [])
        table.append(line)
    return tables


def connections_of(text: str) -> list[str]:
    """Return connections without timeouts, which hang on the moment of looking."""
    return sorted(re.sub(r"^(\S+ +\d+ )\d+", r"\1", line) for line in text.splitlines())


@pytest.fixture(params=SCENES)
def scene(request, tmp_path, capsys):
    """A scene's name, the replay's directory and its summary."""
    name = request.param
    capture = ROOT / "captures" / f"{name}.pcapng"
    node = ROOT / "rulesets" / name
    code = run(cli, ["replay", str(node), "--in", str(capture), "--out", str(tmp_path)])
    shown = capsys.readouterr()
    assert code == 0, shown.out
    return name, tmp_path, json.loads((tmp_path / "summary.json").read_text())


def test_there_are_scenes():
    assert SCENES == ["clusterip", "docker", "firewall", "hairpin", "idle", "ipset", "ipvs"]


def test_a_scene_is_as_the_kernel_was(scene):
    """Frames byte for byte, counters, connections and the kernel log."""
    name, out, summary = scene
    recorded = ROOT / "captures" / name
    with (ROOT / "captures" / f"{name}.pcapng").open("rb") as stream:
        frames = list(read_capture(stream.read, name))
    sent = sum(frame.entered is False for frame in frames)
    assert summary["expectations"] == {"met": sent, "unmet": 0, "extra": 0}
    assert summary["frames"] == len(frames) - sent
    expected, found = (
        rules_of((folder / "iptables-save").read_text()) for folder in (recorded, out)
    )
    assert found == expected
    sets = recorded / "ipset-save"
    assert sets.is_file() == (out / "ipset-save").is_file()
    if sets.is_file():
        saved = [path.read_text() for path in (sets, out / "ipset-save")]
        difference = first_set_difference(*(text.splitlines() for text in saved), saved[0])
        assert not difference
    assert (out / "trace.log").read_text() == (recorded / "trace.log").read_text()
    for listed in recorded.glob("ipvsadm-*"):
        expected_lines, lines = (
            sorted(re.sub(r" \d\d:\d\d ", " ", line) for line in path.read_text().splitlines())
            for path in (listed, out / listed.name)
        )
        assert lines == expected_lines
    expected_rows, rows = (
        connections_of((folder / "conntrack").read_text()) for folder in (recorded, out)
    )
    assert rows == expected_rows


@pytest.mark.parametrize("name", SCENES)
def test_the_index_names_every_scene(name):
    assert f"| `{name}` |" in (ROOT / "rulesets" / "README.md").read_text()


def test_the_clusterip_traced_both_ways(capsys):
    node = str(ROOT / "rulesets" / "clusterip")
    line = "tcp 192.0.2.9:40000 > 10.96.0.10:80 S"
    assert run(cli, ["trace", node, line, "--reply", "--json", "--outcomes"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["verdict"], found["reply"]["verdict"]) == ("ACCEPT", "ACCEPT")
    back = bytes.fromhex(found["reply"]["packets_out"][-1]["frame"])
    assert back[26:30] == bytes([10, 96, 0, 10])
    assert back[30:34] == bytes([192, 0, 2, 9])
    assert [row["probability"] for row in found["outcomes"]] == [
        "715827883/2147483648",
        "1431655765/4294967296",
        "1431655765/4294967296",
    ]
    assert {row["dnat"] for row in found["outcomes"]} == {
        f"10.244.1.{number}:8080" for number in (5, 6, 7)
    }


def test_a_connection_that_rested_too_long_is_gone(capsys):
    """Frame 11 is the connection's last in time; 20 comes 2.5 s later and its timeout is 2 s."""
    states = {}
    for number in (11, 20):
        frame = f"{ROOT / 'captures' / 'idle.pcapng'}#{number}"
        assert run(cli, ["trace", str(ROOT / "rulesets" / "idle"), frame, "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        events = found["events"]
        states[number] = (
            found["verdict"],
            [event["state"] for event in events if event["kind"] == "conntrack_lookup"],
            [event["why"] for event in events if event["kind"] == "connection_destroyed"],
        )
    assert states == {
        11: ("ACCEPT", ["ESTABLISHED"], []),
        20: ("DROP", ["INVALID"], ["timeout"]),
    }


def cooked(frame: bytes, mac: bytes, ifindex: int, *, entered: bool) -> bytes:
    """Return a frame as `tcpdump -i any` keeps it: Linux SLL2, the destination MAC lost."""
    if not entered:
        kind = 4
    elif frame[:6] == b"\xff" * 6:
        kind = 1
    elif frame[0] & 1:
        kind = 2
    else:
        kind = 0 if frame[:6] == mac else 3
    head = frame[12:14] + b"\0\0" + ifindex.to_bytes(4, "big") + b"\0\1" + bytes([kind, 6])
    return head + frame[6:12] + b"\0\0" + frame[14:]


@pytest.mark.parametrize("name", SCENES)
def test_a_capture_of_any_does_as_well(name, tmp_path, capsys):
    """Cooked frames lack their destination; a bridge's ports are told by the ifindex."""
    node = ROOT / "rulesets" / name
    links = {link["ifname"]: link for link in json.loads((node / "ip_-j_-d_link_show").read_text())}
    path = tmp_path / "any.pcap"
    with (ROOT / "captures" / f"{name}.pcapng").open("rb") as source, path.open("wb") as stream:
        writer = PcapWriter(stream.write, link_type=LinkType.LINUX_SLL2)
        for frame in read_capture(source.read, name):
            link = links[frame.interface]
            mac = parse_mac(link["address"])
            entered = frame.entered is True
            writer.write(frame.time_ns, cooked(frame.data, mac, link["ifindex"], entered=entered))
    code = run(cli, ["replay", str(node), "--in", str(path), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert code == 0, found["first_difference"]
    assert found["expectations"]["met"] > 0
