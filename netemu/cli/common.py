"""Options that commands share, and what they mean."""

from __future__ import annotations

import datetime as dt
import gc
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import click
from msgspec import Struct

from netemu.errors import InputError

if TYPE_CHECKING:
    from netemu.sim.node import Node
    from netemu.sim.spec import NodeSpec

Function = TypeVar("Function", bound=Callable[..., object])

KERNELS = ("6.18", "6.1")


class NodeOptions(Struct, frozen=True, kw_only=True):
    """How to read and build the node."""

    node: str
    as_kind: str | None
    backend: str | None
    family: int | None
    addresses: tuple[str, ...]
    routes: tuple[str, ...]
    sysctls: tuple[str, ...]
    seed: int
    kernel: str
    time: str | None
    host: str | None = None
    ipset: str | None = None

    def read(self) -> NodeSpec:
        """Read the node's input."""
        from netemu.snapshot.read import read_node

        return read_node(
            self.node,
            backend=self.backend,
            as_kind=self.as_kind,
            family=self.family,
            addresses=self.addresses,
            routes=self.routes,
            sysctls=self.sysctls,
            host=self.host,
            ipset=self.ipset,
        )

    def build(self, spec: NodeSpec, start_ns: int) -> Node:
        """Build a node whose clock stands at --time, else at `start_ns`."""
        from netemu.sim.node import build_node

        start = parse_time(self.time) if self.time is not None else start_ns
        node = build_node(spec, seed=self.seed, kernel=self.kernel, start_ns=start)
        # A node lives as long as its command: nobody needs to look through it for garbage.
        gc.freeze()
        return node


def node_options(function: Function) -> Function:
    """Add NODE and what tells how to read and build it."""
    for decorate in reversed(_NODE_OPTIONS):
        function = decorate(function)
    return function


ipset_option = click.option(
    "--ipset",
    metavar="FILE|empty",
    help="IP sets for the rules, as `ipset save` prints them; or those they name, without entries.",
)

_NODE_OPTIONS: list[Callable[[Function], Function]] = [
    click.argument("node", metavar="NODE"),
    click.option(
        "--as",
        "as_kind",
        type=click.Choice(["snapshot", "sosreport", "rules", "lab"]),
        help="What NODE is, if its content does not tell.",
    ),
    click.option(
        "--backend",
        type=click.Choice(["legacy", "nft"]),
        help="Which rules to evaluate where the node holds both.",
    ),
    click.option("-4", "family", flag_value=4, type=int, help="NODE is an IPv4 rule file."),
    click.option("-6", "family", flag_value=6, type=int, help="NODE is an IPv6 rule file."),
    click.option(
        "--addr", "addresses", multiple=True, metavar="DEV=IP/LEN", help="Give a device an address."
    ),
    click.option(
        "--route",
        "routes",
        multiple=True,
        metavar="PREFIX[,via=IP][,dev=DEV]",
        help="Add a route.",
    ),
    click.option("--sysctl", "sysctls", multiple=True, metavar="K=V", help="Set a parameter."),
    ipset_option,
    click.option("--seed", type=int, default=0, show_default=True, help="Seed of all chance."),
    click.option(
        "--kernel",
        type=click.Choice(KERNELS),
        default=KERNELS[0],
        show_default=True,
        help="Kernel profile.",
    ),
    click.option("--host", metavar="HOST", help="Which host of a lab is looked at."),
    click.option(
        "--time",
        metavar="TIME",
        help="Start of the simulated clock: seconds since 1970 or ISO 8601.",
    ),
]

color_option = click.option(
    "--color",
    type=click.Choice(["auto", "always", "never"]),
    default="auto",
    show_default=True,
    help="Colours in the text.",
)


def wants_colour(choice: str) -> bool:
    """Tell whether standard output gets colours: --color, NO_COLOR, FORCE_COLOR, a terminal."""
    if choice != "auto":
        return choice == "always"
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def parse_time(text: str) -> int:
    """Return nanoseconds since 1970; a time without zone is UTC.

    >>> parse_time("1700000000.5"), parse_time("1970-01-01T00:00:01")
    (1700000000500000000, 1000000000)
    """
    seconds, _, fraction = text.partition(".")
    if seconds.isdigit() and (not fraction or fraction.isdigit()):
        return int(seconds) * 1_000_000_000 + int(fraction.ljust(9, "0")[:9] or 0)
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(
            f"{text!r} is no time; write 1700000000.5 or 2023-11-14T22:13:20",
            param_hint="--time",
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.UTC)
    epoch = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    return (moment - epoch) // dt.timedelta(microseconds=1) * 1000


def say_notes(notes: list[str]) -> None:
    """Write notes beside the results."""
    for note in notes:
        click.echo(f"note: {note}", err=True)


def write_output(path: str | None, data: str | bytes) -> None:
    """Write a result to a file, or to standard output (also for `-`)."""
    octets = data.encode() if isinstance(data, str) else data
    if path is None or path == "-":
        sys.stdout.flush()
        sys.stdout.buffer.write(octets)
        sys.stdout.buffer.flush()
        return
    try:
        with open(path, "wb") as stream:
            stream.write(octets)
    except OSError as problem:
        raise InputError(f"cannot be written ({problem.strerror})", file=path) from None
