"""`netemu why`: what decided about a packet, and the least that would change it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import click

from netemu.cli.ask import decided, witness_object
from netemu.cli.common import NodeOptions, node_options, say_notes, write_output
from netemu.questions.subject import Subject
from netemu.questions.why import Why, why


@click.command("why")
@node_options
@click.argument("packet", metavar="PACKET")
@click.option("--in", "device", metavar="DEV", default="", help="Where the packet enters.")
@click.option("--local", is_flag=True, help="The node itself sends the packet.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(packet: str, device: str, *, local: bool, as_json: bool, **node: object) -> int:
    """Say why a packet was dropped, or let through, and what would change that.

    Shown are the rule that decided, the nearest rule with the other verdict, the smallest changes
    of the packet and of the rules that turn its fate; each change was sent through the engine.
    """
    options = NodeOptions(**node)  # type: ignore[arg-type]
    spec = options.read()
    found = why(
        Subject(spec, kernel=options.kernel, seed=options.seed), packet, device, local=local
    )
    if as_json:
        write_output(None, json.dumps(_record(found), indent=1, ensure_ascii=False) + "\n")
    else:
        write_output(None, "".join(f"{line}\n" for line in _lines(found)))
        say_notes(spec.notes[:1] if spec.assumed else [])
    return 0


def _record(found: Why) -> dict[str, object]:
    near = found.nearest
    return {
        "verdict": found.answer.verdict,
        "fate": found.answer.text,
        "reason": found.reason,
        "decided_by": found.decided or None,
        "nearest": None
        if near is None
        else {"place": near.place, "text": near.text, "lacks": list(near.lacks)},
        "packet_changes": [
            {
                "fields": dict(change.fields),
                "fate": change.answer.text,
                "witness": witness_object(change.example),
            }
            for change in found.packets
        ],
        "rule_changes": [
            {"change": change.text, "fate": change.answer.text} for change in found.rules
        ],
    }


def _lines(found: Why) -> Iterator[str]:
    by = f" by {found.decided}" if found.decided else f" {found.reason}".rstrip()
    yield f"{found.answer.text}{by}"
    if found.nearest is not None:
        near = found.nearest
        lacks = f"does not fit: {', '.join(near.lacks)}" if near.lacks else "fits, but too late"
        yield f"nearest rule with the other verdict ({lacks}):"
        yield f"  {near.place}  {near.text}"
    if found.packets:
        yield "it would fare otherwise with"
    for change in found.packets:
        fields = " and ".join(f"{name} {values}" for name, values in change.fields)
        yield f"  {fields}"
        yield f"      {change.answer.text}{decided(change.answer)}: {change.example.text}"
    if found.rules:
        yield (
            "or with other rules:" if found.packets else "it would fare otherwise with other rules:"
        )
    for rule in found.rules:
        yield f"  {rule.text}"
        yield f"      {rule.answer.text}"
