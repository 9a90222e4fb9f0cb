"""`netemu verify`: the same packets through netemu and the live kernel, and what differs."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from netemu.cli.captures import parse_input
from netemu.cli.common import KERNELS, NodeOptions, ipset_option
from netemu.cli.replay import replay_captures
from netemu.errors import UsageError
from netemu.livekernel.case import Case, InputFrame, LocalPacket
from netemu.livekernel.files import load_case, load_result
from netemu.livekernel.lab import comparable, first_difference, play_emulated, play_live
from netemu.livekernel.masks import MASKS
from netemu.livekernel.namespace import require_kernel
from netemu.livekernel.verify import Outcome, keep, smaller, verify_case, verify_random
from netemu.snapshot.read import is_lab, load_lab

CASE_FILE = "case.json"
"""A directory that holds it is one that `netemu verify` wrote."""

SAY_EVERY = 50
"""Cases between two lines of progress where standard error is no terminal."""


@click.command("verify")
@click.argument("node", metavar="[NODE]", required=False)
@click.option(
    "--in",
    "inputs",
    multiple=True,
    metavar="[DEV=]FILE",
    help="A capture and the device at which it was taken.",
)
@click.option("--random", "count", type=click.IntRange(min=1), help="Verify N random cases.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the first case.")
@click.option(
    "--until",
    type=float,
    default=0.0,
    metavar="SECONDS",
    help="Let time pass after the last frame.",
)
@click.option("--hurry", is_flag=True, help="Leave out the pauses between captured frames.")
@click.option(
    "--keep",
    "kept",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where to write a case that differs; netemu-verify-NAME by default.",
)
@click.option("--minimise/--no-minimise", default=True, help="Make a case that differs smaller.")
@click.option(
    "--as", "as_kind", type=click.Choice(["snapshot", "sosreport", "rules"]), help="What NODE is."
)
@click.option("--backend", type=click.Choice(["legacy", "nft"]), help="Which rules to evaluate.")
@click.option("--addr", "addresses", multiple=True, metavar="DEV=IP/LEN", help="Add an address.")
@click.option(
    "--route", "routes", multiple=True, metavar="PREFIX[,via=IP][,dev=DEV]", help="Add a route."
)
@click.option("--sysctl", "sysctls", multiple=True, metavar="K=V", help="Set a parameter.")
@ipset_option
def command(
    node: str | None,
    inputs: tuple[str, ...],
    count: int | None,
    seed: int,
    until: float,
    hurry: bool,
    kept: Path | None,
    minimise: bool,
    as_kind: str | None,
    backend: str | None,
    addresses: tuple[str, ...],
    routes: tuple[str, ...],
    sysctls: tuple[str, ...],
    ipset: str | None,
) -> int:
    """Run the same packets through netemu and through the live kernel (Linux, root).

    Either captures through NODE, in real time, or --random N cases of random nodes, rules and
    traffic; a directory that an earlier run wrote is run again, and a lab is played with the same
    programs on real sockets, its frames compared at every device. The kernel works in throw-away
    network namespaces. Compared are frames on every port byte for byte, kernel log, counters,
    connections, IP sets, neighbours and bridge tables. Exit 1 with the first difference, and a
    directory that reproduces it.
    """
    if (node is None) == (count is None):
        raise UsageError("give either NODE with --in DEV=FILE, or --random N")
    if until < 0:
        raise UsageError(f"--until {until}: time only goes on")
    require_kernel()
    if count is not None:
        return _random(count, seed, kept, minimise=minimise)
    assert node is not None
    options = NodeOptions(
        node=node,
        as_kind=as_kind,
        backend=backend,
        family=4,
        addresses=addresses,
        routes=routes,
        sysctls=sysctls,
        ipset=ipset,
        seed=seed,
        kernel=KERNELS[0],
        time=None,
    )
    if not inputs and is_lab(node):
        return _lab(node, seed)
    answered = None
    if not inputs and Path(node, CASE_FILE).exists():
        case = load_case(Path(node))
        if Path(node, "kernel").exists():
            answered = load_result(Path(node, "kernel"))
    elif not inputs:
        raise UsageError("give the captures with --in DEV=FILE")
    else:
        case = _captured(options, inputs, until_ns=round(until * 1e9), hurry=hurry)
    outcome = verify_case(case, answered=answered, seed=seed)
    if outcome.difference is None:
        click.echo(f"{len(case.inputs)} frames: netemu and the kernel agree")
        return 0
    return _differs(outcome, kept, minimise=minimise)


def _lab(path: str, seed: int) -> int:
    """Play a lab in netemu and in the live kernel."""
    written = load_lab(path)
    lab = comparable(written)
    if lab.node.wires != written.node.wires:
        click.echo("note: cables neither delay nor lose frames here", err=True)
    kernel = play_live(lab)
    difference = first_difference(kernel, play_emulated(lab, seed))
    if difference:
        click.echo(f"they differ: {difference}")
        return 1
    count = sum(len(frames) for frames in kernel.frames.values())
    click.echo(f"{count} frames at {len(kernel.frames)} devices: netemu and the kernel agree")
    return 0


def _captured(options: NodeOptions, inputs: tuple[str, ...], *, until_ns: int, hurry: bool) -> Case:
    """Return the frames of the captures that entered the node."""
    spec = options.read()
    run = replay_captures(options, spec, [parse_input(text) for text in inputs])
    start_ns = run.node.clock.start_ns
    entered: list[InputFrame | LocalPacket] = [
        InputFrame(
            device=item.source.device,
            time_ns=number * 1_000_000 if hurry else item.source.time_ns - start_ns,
            frame=item.source.frame,
        )
        for number, item in enumerate(run.replay.injected)
        if not item.source.truncated
    ]
    name = Path(options.node).name or "node"
    return Case(node=spec, inputs=entered, name=name, until_ns=until_ns)


def _random(count: int, seed: int, kept: Path | None, *, minimise: bool) -> int:
    frames = 0
    for number, outcome in enumerate(verify_random(count, seed), 1):
        frames += len(outcome.case.inputs)
        if outcome.difference is not None:
            _progress("")
            click.echo(f"case {number} of {count}, seed {seed + number - 1}")
            return _differs(outcome, kept, minimise=minimise)
        if sys.stderr.isatty():
            _progress(f"{number} of {count} cases, {frames} frames, no difference")
        elif number % SAY_EVERY == 0:
            click.echo(f"{number} of {count} cases, {frames} frames, no difference", err=True)
    _progress("")
    click.echo(
        f"{count} random cases (seeds {seed} to {seed + count - 1}), {frames} frames: "
        "netemu and the kernel agree"
    )
    for name, text in MASKS.items():
        click.echo(f"not compared: {name}: {text}", err=True)
    return 0


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        click.echo(f"\r\x1b[K{text}", nl=False, err=True)


def _differs(outcome: Outcome, kept: Path | None, *, minimise: bool) -> int:
    assert outcome.difference is not None
    directory = kept or Path(f"netemu-verify-{outcome.case.name}")
    keep(outcome, directory)
    if minimise:
        least = smaller(outcome, progress=lambda case: _progress(_size(case)))
        _progress("")
        if least.difference is not None:
            outcome = least
            keep(outcome, directory)
    click.echo(str(outcome.difference))
    click.echo(f"{_size(outcome.case)}; run it again with: netemu verify {directory}")
    return 1


def _size(case: Case) -> str:
    texts = [space.rules4.text for space in case.node.namespaces() if space.rules4 is not None]
    rules = sum(line.startswith(("-A", "[")) for text in texts for line in text.splitlines())
    return f"{len(case.inputs)} frames and {rules} rules are left"
