"""The group: what it lists, and what it does not import."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import netemu as package
from netemu.cli import COMMANDS, MODULES

TOP = Path(__file__).parents[2]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_listed_works(name, netemu):
    module = MODULES.get(name, name)
    assert importlib.import_module(f"netemu.cli.{module}").command.name == name
    shown = netemu(name, "--help")
    assert shown.code == 0
    assert shown.out.startswith("Usage: netemu ")


def test_help_names_commands_and_version(netemu):
    shown = netemu("--help")
    assert all(f"  {name} " in shown.out for name in COMMANDS)
    assert netemu("--version").out == f"netemu, version {package.__version__}\n"


def test_an_unknown_command_is_usage(netemu):
    done = netemu("lintt")
    assert (done.code, "No such command 'lintt'" in done.err) == (2, True)


def modules_after(code: str) -> set[str]:
    listed = "import sys; print('\\n'.join(sys.modules), file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{listed}"],
        capture_output=True,
        text=True,
        cwd=TOP,
        check=True,
    )
    return set(done.stderr.split())


def test_import_netemu_is_light():
    """The budget is 60 ms: nothing that is slow to import comes with the package."""
    loaded = modules_after("import netemu")
    assert not loaded & {"lark", "rich", "scapy", "click", "yaml", "msgspec", "netemu.sim.node"}


def test_trace_of_a_line_and_replay_do_without_scapy(tmp_path):
    rules = tmp_path / "rules"
    rules.write_text("*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n")
    line = "udp 192.0.2.9:1 > 192.0.2.1:2"
    call = (
        "from netemu.cli import cli\nfrom netemu.cli.run import run\n"
        f"run(cli, ['trace', {str(rules)!r}, {line!r}, '--json'])\nimport netemu.cli.replay"
    )
    loaded = modules_after(call)
    assert not {name for name in loaded if name.partition(".")[0] in {"scapy", "rich", "jinja2"}}
