"""`netemu trace`: one packet through a node, every step."""

from __future__ import annotations

from pathlib import Path

import click
from msgspec import Struct

from netemu.cli.branches import branch_runner
from netemu.cli.captures import CaptureInput, Captures
from netemu.cli.common import (
    NodeOptions,
    color_option,
    node_options,
    say_notes,
    wants_colour,
    write_output,
)
from netemu.cli.tracing import run_passage, run_reply, share_of
from netemu.errors import InputError, UsageError
from netemu.sim.node import Node
from netemu.sim.probe import Entry, Written, begin_connection, outcomes, trace_everything
from netemu.sim.replay import CapturedAt, Replay
from netemu.sim.spec import NodeSpec
from netemu.trace.model import Trace
from netemu.trace.text import render_text
from netemu.wire.composed import ComposedPacket
from netemu.wire.packet_text import PROTOCOLS, parse_packet

FORMATS = ("text", "json", "kernel", "pcapng", "html")
SUFFIXES = {".json": "json", ".pcapng": "pcapng", ".html": "html", ".htm": "html", ".log": "kernel"}
"""What `-w FILE` writes where --format does not say it."""

VERDICTS = ("ACCEPT", "DROP", "REJECT", "QUEUE", "STOLEN")


class TraceOptions(Struct, frozen=True, kw_only=True):
    """The options of one call."""

    node: NodeOptions
    packet: str | None
    device: str
    local: bool
    after: tuple[str, ...]
    scapy: str | None
    everything: bool
    reply: bool
    outcomes: bool
    strict: bool
    format: str


@click.command("trace")
@node_options
@click.argument("packet", metavar="PACKET|FILE[#N]", required=False)
@click.option("--in", "device", metavar="DEV", default="", help="Where the packet enters.")
@click.option("--local", is_flag=True, help="The node itself sends the packet.")
@click.option(
    "--after",
    metavar="[DEV=]PACKET",
    multiple=True,
    help="A packet before it; the other end answers, unless PACKET is that answer.",
)
@click.option("--scapy", metavar="EXPR", help="The packet as a Scapy expression.")
@click.option("--all", "everything", is_flag=True, help="Show rules that did not match, and why.")
@click.option("--reply", is_flag=True, help="Show the answer's way back too.")
@click.option("--outcomes", "with_outcomes", is_flag=True, help="Enumerate all random branches.")
@click.option("--strict", is_flag=True, help="Do not assume neighbours that nobody answers for.")
@click.option("--format", "form", type=click.Choice(FORMATS), help="What to print [text].")
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.option(
    "-w", "--write", "file", metavar="FILE", help="Write to FILE; its suffix may say what."
)
@click.option(
    "--expect",
    type=click.Choice(VERDICTS, case_sensitive=False),
    help="Exit 1 unless this is the verdict.",
)
@color_option
def command(
    packet: str | None,
    device: str,
    local: bool,
    after: tuple[str, ...],
    scapy: str | None,
    everything: bool,
    reply: bool,
    with_outcomes: bool,
    strict: bool,
    form: str | None,
    as_json: bool,
    file: str | None,
    expect: str | None,
    color: str,
    **node: object,
) -> int:
    """Send one packet through NODE and show every step.

    \b
    PACKET is one line, such as
        tcp 192.0.2.9:40000 > 10.96.0.1:443 S ttl=3
        udp A:p > B:p    icmp A > B echo id=1 seq=1    arp who-has A tell B
    or frame N of a capture, whose earlier frames are replayed first.
    """  # noqa: D301 - \b is a character to click
    chosen = "json" if as_json else form or _format_by_name(file)
    options = TraceOptions(
        node=NodeOptions(**node),  # type: ignore[arg-type]
        packet=packet,
        device=device,
        local=local,
        after=after,
        scapy=scapy,
        everything=everything,
        reply=reply,
        outcomes=with_outcomes,
        strict=strict,
        format=chosen,
    )
    trace = make_trace(options)
    if file is not None:
        write_output(file, render(trace, chosen, everything=everything, colour=False))
    if file is None or (file != "-" and chosen != "text"):
        shown = chosen if file is None else "text"
        colour = shown == "text" and wants_colour(color)
        write_output(None, render(trace, shown, everything=everything, colour=colour))
    if chosen not in {"json", "html"}:
        say_notes(trace.notes)
    return int(expect is not None and expect.upper() != trace.passage.verdict)


def _format_by_name(file: str | None) -> str:
    return SUFFIXES.get(Path(file).suffix, "text") if file else "text"


def render(trace: Trace, form: str, *, everything: bool, colour: bool) -> str | bytes:
    """Return a trace in one of the formats."""
    if form == "text":
        return render_text(trace, everything=everything, colour=colour)
    if form == "json":
        from netemu.trace.jsonform import render_json

        return render_json(trace)
    if form == "kernel":
        lines = [line for passage in trace.passages() for line in passage.log_lines()]
        return "".join(f"{line}\n" for line in lines)
    if form == "pcapng":
        from netemu.trace.hops import write_hops

        parts: list[bytes] = []
        write_hops(trace, parts.append)
        return b"".join(parts)
    from netemu.trace.html import render_html

    return render_html(trace, everything=everything)


def make_trace(options: TraceOptions) -> Trace:
    """Read the node and the packet, run it, and return what happened."""
    composed = _composed(options)
    spec = options.node.read()
    builder = _Captured(options, spec) if composed is None else _Composed(options, spec, composed)
    node = builder.build()
    notes = list(node.notes) + builder.notes
    if options.format == "kernel":
        trace_everything(node)
    entry = builder.entry(node)
    passage = run_passage(node, entry)
    trace = Trace(
        source=spec.source or options.node.node,
        seed=options.node.seed,
        kernel=options.node.kernel,
        passage=passage,
        notes=notes,
    )
    if options.reply:
        trace.reply, trace.reply_note = run_reply(node, passage)
    if options.outcomes:
        trace.outcomes = [
            share_of(found) for found in outcomes(branch_runner(builder.build, entry))
        ]
    return trace


def _composed(options: TraceOptions) -> ComposedPacket | None:
    """Return the written packet, or None when it stands in a capture."""
    if options.scapy is not None:
        if options.packet is not None:
            raise UsageError("give PACKET or --scapy, not both")
        from netemu.interop.scapy import parse_expression

        return parse_expression(options.scapy)
    if options.packet is None:
        raise UsageError("give a PACKET, a FILE#N, or --scapy EXPR")
    text = options.packet
    first = text.split()[:1]
    path, _ = split_number(text)
    is_line = bool(first) and first[0].lower() in PROTOCOLS and not Path(path).exists()
    return parse_packet(text) if is_line or _is_no_file(text, path) else None


def _is_no_file(text: str, path: str) -> bool:
    """Tell a mistyped packet line from the name of a file that is not there."""
    return not Path(path).exists() and (" " in text.strip() or not text.strip())


def split_number(text: str) -> tuple[str, int]:
    """Split FILE#N; without #N it is the first frame.

    >>> split_number("a.pcap#3"), split_number("a.pcap")
    (('a.pcap', 3), ('a.pcap', 1))
    """
    path, hash_sign, number = text.rpartition("#")
    if not hash_sign or not number.isdigit():
        return text, 1
    return path, int(number)


def _placed(text: str) -> tuple[str, ComposedPacket]:
    """Return the device, if one is named, and the packet of --after."""
    device, equals, packet = text.partition("=")
    if not equals or " " in device.strip():
        device, packet = "", text
    return device.strip(), parse_packet(packet)


class _Composed:
    """A packet that was written down."""

    def __init__(self, options: TraceOptions, spec: NodeSpec, packet: ComposedPacket) -> None:
        self.options = options
        self.spec = spec
        self.packet = Written(packet=packet, device=options.device, local=options.local)
        self.before = [_placed(text) for text in options.after]
        self.notes: list[str] = []

    def build(self) -> Node:
        """Return a fresh node."""
        node = self.options.node.build(self.spec, 0)
        if not self.options.strict and not self.spec.is_lab:
            node.assume_neighbours()
        for device, first in self.before:
            begin_connection(node, first, self.packet, device)
        return node

    def entry(self, node: Node) -> Entry:
        """Return how the packet enters."""
        return self.packet.entry(node)


class _Captured:
    """Frame N of a capture; the frames before it are replayed."""

    def __init__(self, options: TraceOptions, spec: NodeSpec) -> None:
        assert options.packet is not None
        if options.local:
            raise UsageError("--local needs a written packet, not a capture")
        if options.after:
            raise UsageError("--after needs a written packet; before a capture's come its frames")
        self.options = options
        self.spec = spec
        self.notes: list[str] = []
        path, number = split_number(options.packet)
        source = CaptureInput(path=path, device=options.device)
        captures = Captures([source], hint="--in DEV")
        node = self._fresh(captures.start_ns)
        self.start_ns = captures.start_ns
        self.before: list[CapturedAt] = []
        self.frame = self._find(captures, node, number)
        self.notes += captures.notes()

    def _find(self, captures: Captures, node: Node, number: int) -> CapturedAt:
        last = 0
        for item in captures.items(node):
            if item.index == number:
                return item
            if item.index > number:
                break
            self.before.append(item)
            last = item.index
        path = captures.inputs[0].path
        raise InputError(f"there is no frame #{number}; the last usable one is #{last}", file=path)

    def _fresh(self, start_ns: int) -> Node:
        node = self.options.node.build(self.spec, start_ns)
        if not self.options.strict and not self.spec.is_lab:
            node.assume_neighbours()
        return node

    def build(self) -> Node:
        """Return a node that has seen the frames before."""
        node = self._fresh(self.start_ns)
        replay = Replay(node, {item.device for item in self.before})
        for item in self.before:
            replay.feed(item)
        node.run_until(self.frame.time_ns)
        return node

    def entry(self, node: Node) -> Entry:
        """Return the frame at its device.

        Raises InputError for a frame that the node itself sent.
        """
        frame = self.frame
        if not Replay(node, set()).entered(frame):
            raise InputError(
                f"frame #{frame.index} was sent by the node at {frame.device}, it did not enter "
                "there; choose a frame that came in",
                file=frame.file,
            )
        return Entry(device=frame.device, frame=frame.frame, truncated=frame.truncated)
