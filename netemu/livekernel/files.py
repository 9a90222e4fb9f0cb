"""A case and results as a directory, so that what differs can be run again.

DIR/node/           the node's snapshot
DIR/in/DEV.pcap     frames that entered, one file per port (in/NS/DEV.pcap)
DIR/local.jsonl     packets that the node sent itself, where there are any
DIR/case.json       name, how long after the last input the state was looked at
DIR/kernel/         what the kernel did, in the layout of `netemu replay --out`
DIR/netemu/         what netemu did
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from netemu.livekernel.case import Case, InputFrame, LocalPacket, OutputFrame, Result, device_key
from netemu.snapshot.read import read_node
from netemu.snapshot.write import write_node
from netemu.wire.capture_file import read_capture
from netemu.wire.pcap import PcapWriter

TIME_ZERO_NS = 1_000_000_000_000_000_000
"""Absolute time of a case's start in its captures: some moment of 2001."""


def save_case(case: Case, directory: Path, **results: Result) -> None:
    """Write a case; each result goes into the sub-directory of its keyword."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    write_node(case.node, directory / "node")
    by_device: dict[str, list[OutputFrame]] = {}
    local: list[LocalPacket] = []
    for item in case.inputs:
        if isinstance(item, InputFrame):
            frame = OutputFrame(time_ns=item.time_ns, frame=item.frame)
            by_device.setdefault(item.device, []).append(frame)
        else:
            local.append(item)
    for device, frames in by_device.items():
        write_frames(directory / "in" / f"{device}.pcap", frames)
    if local:
        lines = [json.dumps(_local_record(item)) + "\n" for item in local]
        (directory / "local.jsonl").write_text("".join(lines))
    (directory / "case.json").write_text(
        json.dumps({"name": case.name, "until_ns": case.until_ns}) + "\n"
    )
    for name, result in results.items():
        save_result(result, directory / name)


def load_case(directory: Path) -> Case:
    """Read a case that `save_case` wrote."""
    node = read_node(str(directory / "node"))
    inputs: list[InputFrame | LocalPacket] = []
    top = directory / "in"
    for path in sorted(top.rglob("*.pcap")):
        device = str(path.relative_to(top).with_suffix(""))
        inputs += [
            InputFrame(device=device, time_ns=item.time_ns, frame=item.frame)
            for item in read_frames(path)
        ]
    local = directory / "local.jsonl"
    if local.exists():
        inputs += [_local_packet(json.loads(line)) for line in local.read_text().splitlines()]
    inputs.sort(key=lambda item: item.time_ns)
    about = json.loads((directory / "case.json").read_text())
    return Case(node=node, inputs=inputs, name=str(about["name"]), until_ns=int(about["until_ns"]))


def _local_record(item: LocalPacket) -> dict[str, object]:
    return {
        "namespace": item.namespace,
        "time_ns": item.time_ns,
        "packet": item.packet.hex(),
        "mark": item.mark,
    }


def _local_packet(record: dict[str, object]) -> LocalPacket:
    return LocalPacket(
        namespace=str(record["namespace"]),
        time_ns=int(str(record["time_ns"])),
        packet=bytes.fromhex(str(record["packet"])),
        mark=int(str(record["mark"])),
    )


def _tables(result: Result) -> dict[str, dict[str, list[str]]]:
    """Return what is kept as rows, by name of the file."""
    return {
        "ipset-save": result.sets,
        "conntrack": result.conntrack,
        "neigh": result.neighbours,
        "fdb": result.fdb,
        "mdb": result.mdb,
    }


def save_result(result: Result, directory: Path) -> None:
    """Write a result in the layout of `netemu replay --out`."""
    for device, frames in result.frames.items():
        write_frames(directory / f"{device}.pcap", frames)
    directory.mkdir(parents=True, exist_ok=True)
    _write(directory / "trace.log", result.log)
    _write(directory / "uptime", [str(result.uptime_ns)])
    for namespace, text in result.rules.items():
        _write(directory / device_key(namespace, "iptables-save"), text.splitlines())
    for name, parts in _tables(result).items():
        for namespace, rows in parts.items():
            _write(directory / device_key(namespace, name), rows)


def load_result(directory: Path) -> Result:
    """Read a result that `save_result` or `netemu replay --out` wrote."""
    result = Result(log=_lines(directory / "trace.log"))
    for line in _lines(directory / "uptime"):
        result.uptime_ns = int(line)
    for path in sorted(directory.rglob("*.pcap")):
        device = str(path.relative_to(directory).with_suffix(""))
        result.frames[device] = read_frames(path)
    for path in sorted(directory.rglob("iptables-save")):
        result.rules[_namespace(path, directory)] = "".join(f"{row}\n" for row in _lines(path))
    for name, parts in _tables(result).items():
        for path in sorted(directory.rglob(name)):
            parts[_namespace(path, directory)] = _lines(path)
    return result


def _namespace(path: Path, directory: Path) -> str:
    name = str(path.parent.relative_to(directory))
    return "" if name == "." else name


def write_frames(path: Path, frames: list[OutputFrame]) -> None:
    """Write a pcap file with nanosecond time stamps."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        writer = PcapWriter(file.write)
        for item in frames:
            writer.write(TIME_ZERO_NS + item.time_ns, item.frame)


def read_frames(path: Path) -> list[OutputFrame]:
    """Read a pcap file that `write_frames` wrote."""
    with path.open("rb") as file:
        return [
            OutputFrame(time_ns=item.time_ns - TIME_ZERO_NS, frame=item.data)
            for item in read_capture(file.read, str(path))
        ]


def _write(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(f"{line}\n" for line in lines)
    path.write_text(text, encoding="utf-8", errors="surrogateescape")


def _lines(path: Path) -> list[str]:
    if not path.exists():
        return []
    # Only "\n" ends a line: the kernel log may hold other control characters.
    return path.read_text(encoding="utf-8", errors="surrogateescape").split("\n")[:-1]
