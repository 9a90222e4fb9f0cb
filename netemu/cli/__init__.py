"""The command line: one module per command, each imported only when it runs.

Exit codes: 0 done, clean, equal or as expected; 1 findings, a difference or an unmet expectation;
2 usage; 3 input that cannot be read or used; 4 an internal error, with a file that reproduces it.
A broken pipe is silent. Data goes to standard output, notes to standard error.
"""

from __future__ import annotations

import importlib
import sys
from typing import NoReturn

import click

import netemu

COMMANDS = {
    "fmt": "Print a rule file as iptables-save prints it, or say where it would not load.",
    "lint": "Look for faults in rule files and nodes.",
    "explain": "Explain a match or target, or say a rule of a file in words.",
    "ask": "Ask who reaches whom, for all packets at once.",
    "why": "Say why a packet was dropped, and the least that would change it.",
    "trace": "Send one packet through a node and show every step.",
    "run": "Play a lab of several nodes, frame by frame.",
    "diff": "Say which packets two rule sets treat differently.",
    "replay": "Send captures through a node and compare what it sends.",
    "snapshot": "Save a live Linux node, or check what was saved.",
    "kube": "Kubernetes objects as rules on nodes and as packets to Services.",
    "verify": "Run the same packets through the live kernel and compare.",
    "schema": "Print the JSON schema of a kind of file.",
}
"""Command -> its line in `netemu --help`; the module `netemu.cli.NAME` holds `command`."""

MODULES = {"run": "lab"}
"""Where the module has another name than its command."""


class LazyGroup(click.Group):
    """A group that imports a command's module when the command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command."""
        if cmd_name not in COMMANDS:
            return None
        module = MODULES.get(cmd_name, cmd_name)
        command: click.Command = importlib.import_module(f"netemu.cli.{module}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(netemu.__version__, prog_name="netemu")
def cli() -> None:
    """What a Linux kernel does with a frame, step by step.

    NODE is a node snapshot (directory or archive, `netemu snapshot` makes one), a sosreport, an
    iptables-save text, or a lab of several nodes (*.lab.yaml).
    """


def main() -> NoReturn:
    """Run the command line of this process."""
    from netemu.cli.run import run

    sys.exit(run(cli, sys.argv[1:]))
