"""The JSON form of a trace: one object, the fields that the interface promises."""

from __future__ import annotations

import json

from msgspec.structs import asdict

from netemu.events import as_json
from netemu.trace.model import Passage, Trace

SCHEMA = "netemu.trace/1"


def trace_object(trace: Trace) -> dict[str, object]:
    """Return the object that `netemu trace --format json` prints."""
    found = passage_object(trace.passage)
    outcomes = []
    for share in trace.outcomes:
        row = asdict(share)
        del row["percent"]
        outcomes.append(row)
    return {
        "schema": SCHEMA,
        **found,
        "outcomes": outcomes,
        "reply": passage_object(trace.reply) if trace.reply is not None else None,
        "notes": trace.notes,
        "node": trace.source,
        "seed": trace.seed,
        "kernel": trace.kernel,
    }


def passage_object(passage: Passage) -> dict[str, object]:
    """Return what one packet came to, with its events."""
    return {
        "verdict": passage.verdict,
        "reason": passage.reason,
        "delivered_to": passage.delivered_to,
        "in": passage.entered or None,
        "packet_id": passage.packet_id,
        "events": [as_json(stamp, event) for stamp, event in passage.told],
        "packet_in": passage.packet.hex(),
        "packets_out": [
            {"port": out.port, "frame": out.frame.hex(), "packet_id": out.packet_id}
            for out in passage.packets_out()
        ],
        "rules_visited": passage.rules_visited,
        "class": passage.shared_by or None,
    }


def render_json(trace: Trace) -> str:
    """Return the object as text, one event a line."""
    found = trace_object(trace)
    return _dumps(found) + "\n"


def _dumps(found: dict[str, object]) -> str:
    """Write an object with one line per list item of the first two levels."""
    parts = []
    for key, value in found.items():
        if key == "reply" and isinstance(value, dict):
            text = _dumps(value).replace("\n", "\n  ")
        elif isinstance(value, list) and value:
            items = ",\n    ".join(json.dumps(item, ensure_ascii=False) for item in value)
            text = f"[\n    {items}\n  ]"
        else:
            text = json.dumps(value, ensure_ascii=False)
        parts.append(f"  {json.dumps(key)}: {text}")
    return "{\n" + ",\n".join(parts) + "\n}"
