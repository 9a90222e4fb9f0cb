"""The command line run in-process: exit code, output, messages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from netemu.cli import cli
from netemu.cli.run import run

RULES = """\
*nat
:PREROUTING ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:WEB - [0:0]
-A PREROUTING -d 10.96.0.10/32 -p tcp -m tcp --dport 80 -j WEB
-A WEB -m statistic --mode random --probability 0.50000000000 -j DNAT --to-destination 10.244.1.5
-A WEB -p tcp -j DNAT --to-destination 10.244.1.6:8080
COMMIT
*filter
:FORWARD DROP [0:0]
-A FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT
-A FORWARD -o cni0 -p tcp -j ACCEPT
COMMIT
"""

SYN = "tcp 192.0.2.9:40000 > 10.96.0.10:80 S"


@dataclass
class Ended:
    """What a command did."""

    code: int
    out: str
    raw: bytes
    err: str


@pytest.fixture
def rules(tmp_path: Path) -> str:
    """A rule file with two endpoints behind cni0."""
    path = tmp_path / "web.rules"
    path.write_text(RULES)
    return str(path)


@pytest.fixture
def netemu(capsysbinary: pytest.CaptureFixture[bytes]) -> Callable[..., Ended]:
    """Run netemu; `cni0` gets its address unless told otherwise."""

    def call(*arguments: str) -> Ended:
        code = run(cli, list(arguments))
        captured = capsysbinary.readouterr()
        return Ended(
            code, captured.out.decode(errors="replace"), captured.out, captured.err.decode()
        )

    return call
