"""`netemu run` and labs as NODE."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import msgspec
import pytest

from netemu.cli import cli
from netemu.cli.run import run
from netemu.snapshot.lab_shape import LabShape
from netemu.wire.capture_file import read_capture
from netemu.wire.pcap import PcapWriter

ROOT = Path(__file__).parent.parent.parent
TWO = str(ROOT / "rulesets" / "two-nodes.lab.yaml")


def test_a_lab_is_played_line_by_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(cli, ["run", TWO, "--until", "0.5"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert (
        lines[0]
        == "   0.000000  n1/a/eth0            > arp who-has 10.244.1.1 tell 10.244.1.5, 42 octets"
    )
    assert "   0.004000  = ping: reply from 10.244.2.7 seq=1 time=4 ms" in lines
    assert lines[-4:] == [
        "ping: ok, 1 of 1 answered",
        "tcp echo: runs still, not started",
        "nobody listens: runs still, not started",
        "no such pod: runs still, not started",
    ]


def test_one_host_and_what_it_receives(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(cli, ["run", TWO, "--until", "0.5", "--host", "n2", "--received"]) == 0
    frames = [
        line.split()[1:3] for line in capsys.readouterr().out.splitlines() if " octets" in line
    ]
    assert {device.partition("/")[0] for device, _ in frames} == {"n2"}
    assert {arrow for _, arrow in frames} == {"<", ">"}


def test_json_and_capture_hold_the_same_frames(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "out.pcapng"
    assert run(cli, ["run", TWO, "--json", "-w", str(file)]) == 0
    found = json.loads(capsys.readouterr().out)
    with file.open("rb") as stream:
        captured = list(read_capture(stream.read, str(file)))
    assert len(captured) == len(found["frames"]) > 100
    assert {frame.interface for frame in captured} == {
        "n1/eth0", "n1/veth-a", "n1/a/eth0", "n2/eth0", "n2/veth-b", "n2/b/eth0",
    } | {name for name in {frame.interface for frame in captured} if "/lo" in (name or "")}  # fmt: skip
    assert Counter(frame.entered for frame in captured)[True] > 50
    assert [client["ok"] for client in found["clients"]] == [True, True, False, False]


def test_a_trace_goes_through_all_nodes(capsys: pytest.CaptureFixture[str]) -> None:
    line = "tcp 10.244.1.5:4000 > 10.244.2.7:7 S"
    assert run(cli, ["trace", TWO, line, "--json", "--host", "n2"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["verdict"] == "ACCEPT"
    own = [event["node"] for event in found["events"] if event["packet_id"] == 1]
    assert list(dict.fromkeys(own)) == ["n1/a", "n1", "n2", "n2/b"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trace", TWO, "icmp 10.0.0.1 > 10.0.0.2 echo", "--host", "n3"], "the lab has n1, n2"),
        (["run", TWO, "--host", "n3"], "the lab has n1, n2"),
        (["trace", TWO, "icmp 10.0.0.1 > 10.0.0.2 echo", "--addr", "e=1.1.1.1/8"], "a lab says that itself"),
        (["trace", str(ROOT / "rulesets/docker"), "arp who-has 1.1.1.1 tell 1.1.1.2", "--host", "x"], "NODE is no lab"),
    ],
)  # fmt: skip
def test_hosts_that_are_not_there(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(cli, arguments) == 2
    assert message in capsys.readouterr().err


def test_a_file_that_is_no_lab(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "x.lab.yaml"
    file.write_text("nodes:\n  a: 5\n")
    assert run(cli, ["run", str(file)]) == 3
    assert f"{file}:2:6: a: expected `object`, got `int`" in capsys.readouterr().err


def test_the_schema_knows_every_field(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(cli, ["schema", "lab"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert schema == msgspec.json.schema(LabShape)
    assert {"nodes", "links", "clients", "timeline", "until", "about"} == set(
        schema["$defs"]["LabShape"]["properties"]
    )


def test_captures_are_replayed_into_a_lab(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """ARP and an echo request enter n2 by its uplink; what n2 answers is what was captured."""
    file = tmp_path / "out.pcapng"
    assert run(cli, ["run", TWO, "--until", "0.5", "-w", str(file)]) == 0
    capture = tmp_path / "uplink.pcap"
    with file.open("rb") as stream, capture.open("wb") as out:
        writer = PcapWriter(out.write)
        for frame in read_capture(stream.read, str(file)):
            if frame.interface == "n2/eth0":
                writer.write(frame.time_ns, frame.data)
    capsys.readouterr()
    told = ["--host", "n2", "--in", f"eth0={capture}", "--until", "1", "--json"]
    code = run(cli, ["replay", TWO, *told])
    found = json.loads(capsys.readouterr().out)
    assert found["frames"] == 2
    assert found["verdicts"] == {"ACCEPT": 2}
    assert (code, found["expectations"]["met"]) == (0, 2), found["first_difference"]
