"""`netemu replay`: captures through a node, and what it sends compared with what was captured."""

from __future__ import annotations

import json
from collections import Counter

import click
from msgspec import Struct

from netemu.cli.branches import can_fork
from netemu.cli.captures import CaptureInput, Captures, parse_input
from netemu.cli.common import (
    NodeOptions,
    color_option,
    node_options,
    say_notes,
    wants_colour,
    write_output,
)
from netemu.cli.coverage import FORMATS, TEXT, CoverageWish, tables_hit
from netemu.cli.differ import Difference, difference_lines, first_difference
from netemu.cli.follow import Course, Follower, with_upcoming
from netemu.cli.outdir import compare_with, out_files, write_out_files
from netemu.errors import UsageError
from netemu.netfilter.conntrack.table import Form
from netemu.sim.node import Node
from netemu.sim.replay import Comparison, Replay
from netemu.sim.spec import NodeSpec
from netemu.sim.state import summary_record
from netemu.trace.coverage import coverage_object


class Run(Struct, kw_only=True):
    """A replay that is over."""

    node: Node
    replay: Replay
    comparison: Comparison
    notes: list[str]
    courses: dict[tuple[str, int], Course]
    """Frames whose random choices follow the capture."""


class _ReplayCommand(click.Command):
    """`--coverage` takes its value after `=` only, so that a file may follow it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Give a bare `--coverage` its format."""
        words = [f"{word}={TEXT}" if word == "--coverage" else word for word in args]
        return super().parse_args(ctx, words)


@click.command("replay", cls=_ReplayCommand)
@node_options
@click.option(
    "--in",
    "inputs",
    multiple=True,
    required=True,
    metavar="[DEV=]FILE",
    help="A capture and the device at which it was taken.",
)
@click.option("--out", metavar="DIR", help="Write what left the node and what it holds then.")
@click.option(
    "--until",
    type=float,
    default=0.0,
    metavar="SECONDS",
    help="Let time pass after the last frame.",
)
@click.option(
    "--assume-neighbours", is_flag=True, help="Assume neighbours that nobody answers for."
)
@click.option(
    "--follow/--no-follow",
    default=True,
    show_default=True,
    help="Take random choices from what the capture shows, else from the seed.",
)
@click.option(
    "--conntrack-form",
    type=click.Choice([form.name.lower() for form in Form]),
    default=Form.PLAIN.name.lower(),
    show_default=True,
    help="Write the connections of --out as conntrack -L, with -o extended, or as in /proc.",
)
@click.option("--expect-same-as", "expected", metavar="DIR|PCAPNG", help="Compare, exit 1 if not.")
@click.option(
    "--coverage",
    type=click.Choice(FORMATS),
    metavar="[=FORMAT]",
    help=f"Show which rules were hit and which never: {', '.join(FORMATS)} [{TEXT}].",
)
@click.option(
    "--coverage-out",
    "coverage_file",
    metavar="FILE",
    help="Write the coverage to FILE; its suffix may say the format.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@color_option
def command(
    inputs: tuple[str, ...],
    out: str | None,
    until: float,
    assume_neighbours: bool,
    follow: bool,
    conntrack_form: str,
    expected: str | None,
    coverage: str | None,
    coverage_file: str | None,
    as_json: bool,
    color: str,
    **node: object,
) -> int:
    """Send captured frames through NODE in order of time.

    Frames that came into the node are injected; frames that it sent are compared with what netemu
    sends. Exit 1 if they differ; the first packet where they part is shown with its trace.
    """
    if until < 0:
        raise UsageError(f"--until {until}: time only goes on")
    options = NodeOptions(**node)  # type: ignore[arg-type]
    wanted = CoverageWish.of(coverage, coverage_file, as_json=as_json)
    spec = options.read()
    sources = [parse_input(text) for text in inputs]
    run = replay_captures(
        options, spec, sources, until_s=until, assume=assume_neighbours, follow=follow
    )
    unequal = ""
    if out is not None or expected is not None:
        files = out_files(run.replay, run.comparison, Form[conntrack_form.upper()])
        if out is not None:
            write_out_files(out, files)
        if expected is not None:
            unequal = compare_with(expected, run.replay, files)
    difference = first_difference(run.replay, run.comparison)
    if as_json:
        found = _record(run, difference, unequal)
        if wanted.in_report:
            found["coverage"] = coverage_object(tables_hit(run.node))
        write_output(None, json.dumps(found, indent=1) + "\n")
    elif wanted.alone:
        say_notes(run.notes)
    else:
        write_output(None, _report(run, unequal))
        if difference is not None:

            def build() -> Node:
                return _fresh(options, spec, run, assume=assume_neighbours)

            colour = wants_colour(color)
            write_output(
                None, difference_lines(difference, run.replay, build, run.courses, colour=colour)
            )
        say_notes(run.notes)
    wanted.write(run.node, colour=wants_colour(color))
    return int(difference is not None or bool(unequal))


def replay_captures(
    options: NodeOptions,
    spec: NodeSpec,
    sources: list[CaptureInput],
    *,
    until_s: float = 0.0,
    assume: bool = False,
    follow: bool = False,
) -> Run:
    """Feed all captures through a fresh node."""
    captures = Captures(sources)
    node = options.build(spec, captures.start_ns)
    if assume:
        node.assume_neighbours()
    watched = {source.device for source in sources if source.device}
    replay = Replay(node, watched or set(node.ports))
    follower = Follower(replay) if follow and can_fork() else None
    last_ns = node.clock.now_ns
    for item, upcoming in with_upcoming(captures.items(node)):
        replay.captured_devices.add(item.device)
        if follower is not None and replay.entered(item):
            with follower.following(item, upcoming):
                replay.feed(item)
        else:
            replay.feed(item)
        last_ns = item.time_ns
    comparison = replay.finish(max(last_ns, node.clock.now_ns) + round(until_s * 1_000_000_000))
    notes = [*node.notes, *replay.note_lines(), *captures.notes()]
    notes += follower.notes() if follower is not None else []
    courses = follower.courses if follower is not None else {}
    return Run(node=node, replay=replay, comparison=comparison, notes=notes, courses=courses)


def _fresh(options: NodeOptions, spec: NodeSpec, run: Run, *, assume: bool) -> Node:
    """Return a node as it was before the first frame."""
    node = options.build(spec, run.node.clock.start_ns)
    if assume:
        node.assume_neighbours()
    return node


def _record(run: Run, difference: Difference | None, unequal: str) -> dict[str, object]:
    found = summary_record(run.replay, run.comparison)
    found["notes"] = run.notes
    found["first_difference"] = None if difference is None else difference.record()
    if unequal:
        found["not_as_expected"] = unequal
    return found


def _report(run: Run, unequal: str) -> str:
    """Return the summary for eyes."""
    replay, comparison = run.replay, run.comparison
    verdicts = Counter(injected.fate.verdict for injected in replay.injected)
    reasons = Counter(injected.fate.reason for injected in replay.injected if injected.fate.reason)
    shown = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.most_common())
    lines = [f"{len(replay.injected)} frames entered: {shown or 'none'}"]
    if reasons:
        why = ", ".join(f"{reason} {count}" for reason, count in reasons.most_common())
        lines.append(f"dropped or refused because of: {why}")
    sent = {name: len(frames) for name, frames in replay.sent.items() if frames}
    total = sum(sent.values())
    by_port = ", ".join(f"{name} {count}" for name, count in sent.items())
    lines.append(f"{total} frames left{': ' + by_port if by_port else ''}")
    captured = comparison.met + len(comparison.unmet)
    if captured or comparison.extra:
        extra = f", {len(comparison.extra)} more were sent" if comparison.extra else ""
        lines.append(f"{comparison.met} of {captured} outgoing frames as captured{extra}")
    if unequal:
        lines.append(f"not as expected: {unequal}")
    return "\n".join(lines) + "\n"
