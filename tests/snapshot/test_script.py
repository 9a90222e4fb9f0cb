"""The script names the same commands and files; that it runs is asked in tests/kernel."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from netemu.snapshot.items import ITEMS
from netemu.snapshot.script import script


def test_every_command_with_its_file() -> None:
    listed = re.findall(r"^    take (whole|partial) (\S+) (.+)$", script(), re.MULTILINE)
    assert [
        ("partial" if item.partial else "whole", item.name, item.command)
        for item in ITEMS
        if item.collect
    ] == listed


@pytest.mark.parametrize("shell", ["dash", "bash", "sh"])
def test_it_parses(shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here")
    done = subprocess.run(
        [shell, "-n"], input=script(), text=True, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_shellcheck_finds_nothing() -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("no shellcheck here")
    done = subprocess.run(
        ["shellcheck", "-s", "sh", "-"], input=script(), text=True, capture_output=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("arguments", [["--nonsense"], ["-o"], ["extra"]])
def test_wrong_usage(arguments: list[str]) -> None:
    done = subprocess.run(
        ["sh", "-s", "--", *arguments], input=script(), text=True, capture_output=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("usage: ")


def test_it_changes_nothing() -> None:
    """Nothing but its own directory is written or removed, and no module is loaded by hand."""
    writing = re.findall(r"\b(?:rm|mv|mkdir|modprobe|tee|chmod|kill|ip link|ip addr)\b.*", script())
    assert {
        'mkdir -p "$directory" || exit 3',
        'mkdir -p "$folder" || exit 3',
        'rm -f "$folder/$file"',
        'rm -f "$directory/.errors"',
    } == set(writing)
