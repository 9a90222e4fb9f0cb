"""`netemu verify` itself: it finds what is not equal, keeps it, and makes it small."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from netemu.cli.verify import command
from netemu.livekernel import verify
from netemu.livekernel.case import Case, InputFrame, OutputFrame, Result
from netemu.livekernel.emulator import emulate_case
from netemu.livekernel.files import load_case, load_result, save_case
from netemu.livekernel.generate.record import record_random
from netemu.livekernel.runner import run_case


def with_wrong_ttl(case: Case, expected: Result | None = None, **more: int) -> Result:
    """An emulator that forgets to count down the TTL of ICMP packets (sum kept wrong)."""
    result = emulate_case(case, expected, **more)
    for frames in result.frames.values():
        for number, item in enumerate(frames):
            if item.frame[12:14] == b"\x08\x00" and item.frame[23] == 1:
                data = bytearray(item.frame)
                data[22] += 1
                frames[number] = OutputFrame(time_ns=item.time_ns, frame=bytes(data))
    return result


def test_a_wrong_emulator_is_found_kept_and_made_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "emulate_case", with_wrong_ttl)
    kept = tmp_path / "kept"
    done = CliRunner().invoke(
        command, ["--random", "20", "--seed", "3", "--keep", str(kept)], standalone_mode=False
    )
    assert done.exception is None
    assert done.return_value == 1
    assert "frames of " in done.output
    assert (kept / "difference.txt").exists()
    case = load_case(kept)
    assert 1 <= len(case.inputs) <= 3
    assert load_result(kept / "kernel").frames.keys() == load_result(kept / "netemu").frames.keys()
    monkeypatch.undo()
    again = CliRunner().invoke(command, [str(kept)], standalone_mode=False)
    assert again.return_value == 0, again.output


def test_the_kernel_agrees_with_itself() -> None:
    """What is masked is all that two runs of the kernel differ in."""
    for seed in range(5):
        case, first = record_random(seed)
        assert verify.first_difference(case, first, run_case(case, first)) is None


def test_a_case_survives_its_directory(tmp_path: Path) -> None:
    case, result = record_random(11)
    save_case(case, tmp_path / "case", kernel=result)
    read = load_case(tmp_path / "case")
    assert read.inputs == case.inputs
    assert load_result(tmp_path / "case" / "kernel") == result
    outcome = verify.verify_case(read)
    assert outcome.difference is None, str(outcome.difference)


def test_captures_of_a_bare_rule_file(tmp_path: Path) -> None:
    rules = tmp_path / "rules"
    rules.write_text(
        "*filter\n:INPUT DROP [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n"
        "-A INPUT -p icmp -j ACCEPT\nCOMMIT\n"
    )
    case, _ = record_random(1)
    frames = [item for item in case.inputs if isinstance(item, InputFrame)][:5]
    save_case(Case(node=case.node, inputs=list(frames)), tmp_path / "case")
    captures = sorted((tmp_path / "case" / "in").rglob("*.pcap"))
    arguments = [str(rules), *(word for path in captures for word in ("--in", f"eth0={path}"))]
    done = CliRunner().invoke(command, arguments, standalone_mode=False)
    assert done.exception is None
    assert done.return_value == 0, done.output
    assert "agree" in done.output
