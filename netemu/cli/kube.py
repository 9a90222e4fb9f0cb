"""`netemu kube`: Kubernetes objects as rules and as packets."""

from __future__ import annotations

import importlib

import click

COMMANDS = {
    "render": "Print what kube-proxy programs on a node.",
    "trace": "Send one packet to a Service, in one mode or several.",
    "reach": "Tell which nodes answer for a Service, and whose address it sees.",
    "cost": "Compare what a packet costs, by mode and number of Services.",
    "run": "Let a cluster live: pods, rules and packets over time.",
    "check": "Compare a saved node with its objects, and show by packets what differs.",
}
"""Command -> its line in `netemu kube --help`; the module `netemu.cli.kube_NAME` holds it."""


class LazyKube(click.Group):
    """A group that imports a command's module when the command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command."""
        if cmd_name not in COMMANDS:
            return None
        found: click.Command = importlib.import_module(f"netemu.cli.kube_{cmd_name}").command
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group("kube", cls=LazyKube)
def command() -> None:
    """What becomes of Kubernetes objects: rules on nodes, and packets to Services.

    OBJECTS is what `kubectl get ... -o yaml` or `-o json` prints, or a folder of such files.
    """
