"""`netemu run`: a lab plays, frame by frame."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from netemu.cli.common import KERNELS, say_notes, write_output
from netemu.errors import UsageError
from netemu.link.device import complete_frame
from netemu.sim.lab import Lab, Note
from netemu.snapshot.read import load_lab
from netemu.trace.frame_log import FrameCapture, FrameLog, LoggedDrop, LoggedFrame, clock

if TYPE_CHECKING:
    from netemu.events import Event, Stamp


@click.command("run")
@click.argument("lab", metavar="LAB")
@click.option("--until", type=float, metavar="SECONDS", help="Stop the clock there.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of all chance.")
@click.option(
    "--kernel",
    type=click.Choice(KERNELS),
    default=KERNELS[0],
    show_default=True,
    help="Kernel profile.",
)
@click.option("--host", multiple=True, metavar="HOST", help="Show only this host's frames.")
@click.option("--received", is_flag=True, help="Show frames where they arrive, too.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("-w", "--write", "file", metavar="FILE", help="Write a pcapng of all devices.")
def command(
    lab: str,
    until: float | None,
    seed: int,
    kernel: str,
    host: tuple[str, ...],
    *,
    received: bool,
    as_json: bool,
    file: str | None,
) -> int:
    """Play LAB: every frame with its device, what was lost, and what each client saw.

    It runs until all clients have ended and all that was to happen has, or as long as the lab or
    --until says.
    """
    spec = load_lab(lab)
    for name in host:
        if name not in spec.hosts:
            message = f"--host {name}: the lab has {', '.join(spec.hosts)}"
            raise UsageError(message)
    running = Lab(spec, seed=seed, kernel=kernel)
    player = _Player(running, set(host), received=received, as_json=as_json, keep=file is not None)
    if until is None:
        running.run()
    else:
        running.run_until(round(until * 1e9))
    if file is not None:
        player.write(file, lab, seed)
    if as_json:
        write_output(None, json.dumps(player.record(lab, seed, kernel)) + "\n")
    else:
        click.echo(player.summary(), nl=False)
    say_notes(running.node.notes)
    return 0


class _Player:
    """Shows a lab while it runs, and keeps what is asked for at its end."""

    def __init__(
        self, lab: Lab, hosts: set[str], *, received: bool, as_json: bool, keep: bool
    ) -> None:
        self.lab = lab
        self.hosts = hosts
        self.received = received
        self.as_json = as_json
        self.frames: list[LoggedFrame] = []
        self.drops: list[LoggedDrop] = []
        self.sent = 0
        self._keep = keep or as_json
        self._log = FrameLog()
        lab.subscribe(self._event)
        lab.listen(self._note)

    def _event(self, stamp: Stamp, event: Event) -> None:
        item = self._log.item(stamp, event)
        if item is None:
            return
        if isinstance(item, LoggedFrame):
            out = item.direction == "out"
            self.sent += out
            if self._keep:
                self.frames.append(item)
            show = out or self.received
        else:
            self.drops.append(item)
            show = True
        if show and not self.as_json and self._is_wanted(stamp.node):
            click.echo(item.line())

    def _is_wanted(self, namespace: str) -> bool:
        return not self.hosts or namespace.partition("/")[0] in self.hosts

    def _note(self, note: Note) -> None:
        if not self.as_json:
            who = f"{note.who}: " if note.who else ""
            click.echo(f"{clock(note.time_ns)}  = {who}{note.text}")

    def summary(self) -> str:
        """Return what each client came to."""
        lines = [f"{self.sent} frames sent, {len(self.drops)} packets dropped"]
        last = {note.who: note.text for note in self.lab.notes}
        words: dict[bool | None, str] = {True: "ok", False: "FAILED", None: "runs still"}
        lines += [
            f"{client.spec.name}: {words[client.ok]}, {last.get(client.spec.name, 'not started')}"
            for client in self.lab.clients
        ]
        return "\n".join(lines) + "\n"

    def record(self, lab: str, seed: int, kernel: str) -> dict[str, object]:
        """Return everything as plain values."""
        return {
            "lab": lab,
            "seed": seed,
            "kernel": kernel,
            "until_ns": self.lab.now_ns,
            "frames": [item.record() for item in self.frames],
            "drops": [item.record() for item in self.drops],
            "clients": [
                {
                    "name": client.spec.name,
                    "from": client.spec.namespace,
                    "kind": client.spec.kind,
                    "ok": client.ok,
                    "saw": self._said(client.spec.name),
                }
                for client in self.lab.clients
            ],
            "timeline": self._said(""),
            "notes": self.lab.node.notes,
        }

    def _said(self, who: str) -> list[dict[str, object]]:
        return [
            {"time_ns": note.time_ns, "text": note.text}
            for note in self.lab.notes
            if note.who == who
        ]

    def write(self, file: str, lab: str, seed: int) -> None:
        """Write the capture."""
        parts: list[bytes] = []
        append: Callable[[bytes], object] = parts.append
        capture = FrameCapture(append, comment=f"netemu run {lab}, seed {seed}")
        for item in self.frames:
            capture.add(item, complete_frame(item.frame))
        write_output(file, b"".join(parts))
