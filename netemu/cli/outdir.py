"""The files of `netemu replay --out DIR`, and the comparison of a run with an earlier one."""

from __future__ import annotations

import json
from itertools import zip_longest
from pathlib import Path

from netemu.cli.captures import frames_of
from netemu.errors import InputError
from netemu.netfilter.conntrack.table import Form
from netemu.sim.replay import Comparison, Replay, SentAt
from netemu.sim.state import state_files, summary_record, verdict_record
from netemu.wire.describe import describe_frame
from netemu.wire.pcap import PcapWriter

NOT_COMPARED = {"summary.json", "verdicts.jsonl"}
"""They name the input files and say the same as the others."""


def out_files(replay: Replay, comparison: Comparison, form: Form = Form.PLAIN) -> dict[str, bytes]:
    """Return file name -> content of everything that a run leaves behind."""
    node = replay.node
    files: dict[str, bytes] = {}
    for name in node.ports:
        parts: list[bytes] = []
        writer = PcapWriter(parts.append)
        for sent in replay.sent.get(name, ()):
            writer.write(sent.time_ns, sent.frame)
        files[f"{name}.pcap"] = b"".join(parts)
    files["trace.log"] = "".join(f"{line}\n" for line in node.log).encode()
    files |= {name: text.encode() for name, text in state_files(node, form).items()}
    records = [verdict_record(injected) for injected in replay.injected]
    files["verdicts.jsonl"] = "".join(f"{json.dumps(record)}\n" for record in records).encode()
    summary = json.dumps(summary_record(replay, comparison), indent=1)
    files["summary.json"] = f"{summary}\n".encode()
    return files


def write_out_files(directory: str, files: dict[str, bytes]) -> None:
    """Write the files; the directory is made if need be."""
    top = Path(directory)
    try:
        for name, data in files.items():
            path = top / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    except OSError as problem:
        raise InputError(
            f"cannot be written ({problem.strerror})", file=str(problem.filename or directory)
        ) from None


def compare_with(expected: str, replay: Replay, files: dict[str, bytes]) -> str:
    """Return the first difference from an earlier run; empty when there is none."""
    path = Path(expected)
    if path.is_dir():
        return _compare_directory(path, files)
    return _compare_capture(expected, replay)


def _compare_directory(top: Path, files: dict[str, bytes]) -> str:
    expected = {
        str(path.relative_to(top)): path for path in sorted(top.rglob("*")) if path.is_file()
    }
    if not set(expected) & set(files):
        raise InputError("holds none of the files that replay --out writes", file=str(top))
    for name in sorted(set(expected) | set(files)):
        if name in NOT_COMPARED:
            continue
        if name not in expected:
            return f"{name} is not in {top}"
        if name not in files:
            if name.endswith(".pcap"):
                return f"{name}: the node has no such port"
            continue
        found = _compare_file(name, expected[name], files[name])
        if found:
            return found
    return ""


def _compare_file(name: str, path: Path, data: bytes) -> str:
    wanted = path.read_bytes()
    if wanted == data:
        return ""
    if name.endswith(".pcap"):
        theirs = [(frame.time_ns, frame.data) for frame in frames_of(str(path))]
        ours = _frames_in(data, name)
        for number, (one, other) in enumerate(zip_longest(theirs, ours), 1):
            if one != other:
                return f"{name} frame {number}: {_shown(one)} was expected, {_shown(other)} came"
        return ""
    lines = zip_longest(wanted.decode().splitlines(), data.decode().splitlines())
    for number, (one, other) in enumerate(lines, 1):
        if one != other:
            return f"{name}:{number}: {one!r} was expected, {other!r} came"
    return f"{name}: they differ in line ends"


def _frames_in(data: bytes, name: str) -> list[tuple[int, bytes]]:
    from io import BytesIO

    from netemu.wire.capture_file import read_capture

    return [(frame.time_ns, frame.data) for frame in read_capture(BytesIO(data).read, name)]


def _shown(item: tuple[int, bytes] | None) -> str:
    if item is None:
        return "nothing"
    seconds, fraction = divmod(item[0], 1_000_000_000)
    return f"{describe_frame(item[1])} at {seconds}.{fraction:09d}"


def _compare_capture(expected: str, replay: Replay) -> str:
    """Compare what left each port with a capture whose interfaces are named after the ports."""
    wanted: dict[str, list[bytes]] = {}
    for frame in frames_of(expected):
        if frame.entered is not True:
            wanted.setdefault(frame.interface, []).append(frame.data)
    for name, frames in wanted.items():
        if name not in replay.sent:
            ports = ", ".join(replay.sent)
            raise InputError(
                f"has frames of {name or 'a nameless interface'}, which is no port of the node; "
                f"its ports are {ports}",
                file=expected,
            )
        ours: list[SentAt] = replay.sent[name]
        for number, (one, other) in enumerate(zip_longest(frames, ours), 1):
            if other is None or one != other.frame:
                came = describe_frame(other.frame) if other is not None else "nothing"
                want = describe_frame(one) if one is not None else "nothing"
                return f"{name} frame {number}: {want} was expected, {came} came"
    return ""
