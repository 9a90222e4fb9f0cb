"""Errors become a message and an exit code; a broken pipe is silent."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path

import click
import pytest

from netemu.cli.run import run
from netemu.errors import InputError, InternalError, UsageError


def ending(problem: BaseException) -> click.Command:
    @click.command()
    @click.argument("words", nargs=-1)
    def command(words: tuple[str, ...]) -> None:
        raise problem

    return command


@pytest.mark.parametrize(
    "problem,code,message",
    [
        (UsageError("no"), 2, "netemu: no\n"),
        (InputError("no", file="f", line=3), 3, "f:3: no\n"),
        (click.ClickException("no"), 1, "Error: no\n"),
        (PermissionError(13, "Permission denied", "f"), 3, "f: Permission denied\n"),
        (KeyboardInterrupt(), 130, ""),
        (BrokenPipeError(), 141, ""),
    ],
)
def test_exit_codes(problem, code, message, capfd):
    assert run(ending(problem), []) == code
    assert capfd.readouterr().err == message


@pytest.mark.parametrize(
    "problem", [InternalError("promise"), AssertionError("promise"), KeyError(1)]
)
def test_an_internal_error_saves_what_reproduces_it(problem, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    source = tmp_path / "in.rules"
    source.write_text("rules")
    assert run(ending(problem), [str(source), "DEV=/nonexistent"]) == 4
    message = capsys.readouterr().err
    assert "Traceback" not in message
    assert "please report it" in message
    path = Path(message.rstrip().rpartition(" ")[2])
    with tarfile.open(path) as archive:
        assert archive.getnames() == ["report.txt", "input/in.rules"]
        report = archive.extractfile("report.txt")
        assert report is not None
        assert b"Traceback" in report.read()


def test_a_broken_pipe_is_silent(tmp_path):
    rules = tmp_path / "rules"
    rules.write_text("*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n")
    command = [sys.executable, "-m", "netemu", "trace", str(rules), "--json", "--"]
    process = subprocess.Popen(
        [*command, "udp 192.0.2.9:1 > 192.0.2.1:2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() in {0, 141}
