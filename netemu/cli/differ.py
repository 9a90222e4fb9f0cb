"""The first packet where a capture and netemu part, shown with its trace."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from netemu.cli.follow import Course, playing
from netemu.cli.tracing import run_passage
from netemu.sim.node import Node
from netemu.sim.probe import Entry
from netemu.sim.replay import CapturedAt, Comparison, Injected, Replay, SentAt
from netemu.trace.text import Paint, render_passage
from netemu.wire.describe import describe_frame


class Difference(Struct, frozen=True, kw_only=True):
    """A frame that only one side sent."""

    captured: CapturedAt | None
    sent: SentAt | None
    cause: Injected | None
    """The frame that should have caused the one, or did cause the other."""

    def record(self) -> dict[str, object]:
        """Return the difference as plain values."""
        item = self.captured or self.sent
        assert item is not None
        return {
            "device": item.device,
            "time_ns": item.time_ns,
            "captured": self.captured.frame.hex() if self.captured else None,
            "captured_index": self.captured.index if self.captured else None,
            "sent": self.sent.frame.hex() if self.sent else None,
            "caused_by": None
            if self.cause is None
            else {"file": self.cause.source.file, "index": self.cause.source.index},
        }


def first_difference(replay: Replay, comparison: Comparison) -> Difference | None:
    """Return the earliest difference, its two sides paired where they are of one packet."""
    if comparison.equal:
        return None
    captured = comparison.unmet[0] if comparison.unmet else None
    sent = comparison.extra[0] if comparison.extra else None
    if captured is not None and sent is not None:
        cause = _cause_of(replay, sent)
        theirs = _likely_cause(replay, captured)
        if theirs is not cause:
            if captured.time_ns < sent.time_ns:
                sent = None
            else:
                captured = None
    if sent is not None:
        return Difference(captured=captured, sent=sent, cause=_cause_of(replay, sent))
    assert captured is not None
    return Difference(captured=captured, sent=None, cause=_likely_cause(replay, captured))


def _cause_of(replay: Replay, sent: SentAt) -> Injected | None:
    """Return the injected frame that netemu's frame goes back to."""
    earlier = [found for found in replay.injected if found.fate.packet_id <= sent.cause]
    return earlier[-1] if earlier else None


def _likely_cause(replay: Replay, captured: CapturedAt) -> Injected | None:
    """Return the injected frame that a captured one most likely goes back to.

    A forwarded packet keeps its IP identification and payload; else the last frame before it.
    """
    earlier = [found for found in replay.injected if found.source.time_ns <= captured.time_ns]
    for found in reversed(earlier):
        if _same_packet(found.source.frame, captured.frame):
            return found
    return earlier[-1] if earlier else None


def _same_packet(one: bytes, other: bytes) -> bool:
    """Tell whether two IPv4 frames carry one packet, addresses and ports aside."""
    if one[12:14] != other[12:14] or len(one) != len(other) or len(one) < 34:
        return False
    return one[16:20] == other[16:20] and one[23] == other[23] and one[54:] == other[54:]


def difference_lines(
    difference: Difference,
    replay: Replay,
    build: Callable[[], Node],
    courses: dict[tuple[str, int], Course],
    *,
    colour: bool,
) -> str:
    """Return the difference in words and the trace of the packet that caused it."""
    item = difference.captured or difference.sent
    assert item is not None
    seconds, fraction = divmod(item.time_ns, 1_000_000_000)
    lines = [f"first difference at {item.device}, {seconds}.{fraction:09d}"]
    if difference.captured is not None:
        captured = difference.captured
        lines.append(
            f"  captured  {describe_frame(captured.frame)}  ({captured.file}#{captured.index})"
        )
    lines.append(
        f"  netemu    {describe_frame(difference.sent.frame)}"
        if difference.sent is not None
        else "  netemu    sent no such frame"
    )
    if difference.captured is not None and difference.sent is not None:
        lines += _octet_lines(difference.captured.frame, difference.sent.frame)
    if difference.cause is None:
        return "\n".join([*lines, "no frame entered the node before it", ""])
    source = difference.cause.source
    lines.append(f"the packet behind it is {source.file}#{source.index}:")
    return (
        "\n".join(lines)
        + "\n"
        + _retrace(difference.cause, replay, build(), courses, colour=colour)
    )


def _octet_lines(one: bytes, other: bytes) -> list[str]:
    """Say at which octets two frames differ."""
    places = [at for at, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]]
    lines = []
    if places:
        shown = ", ".join(f"{at}: {one[at]:02x}/{other[at]:02x}" for at in places[:12])
        lines.append(f"  octets    {shown}{' …' if len(places) > 12 else ''}")
    if len(one) != len(other):
        lines.append(f"  lengths   {len(one)}/{len(other)}")
    return lines


def _retrace(
    cause: Injected,
    replay: Replay,
    node: Node,
    courses: dict[tuple[str, int], Course],
    *,
    colour: bool,
) -> str:
    """Run everything before `cause` again in silence, then `cause` with its events."""
    for injected in replay.injected:
        source = injected.source
        node.run_until(source.time_ns)
        if injected is cause:
            break
        if not source.truncated:
            with playing(node, courses.get((source.file, source.index))):
                node.receive(source.device, source.frame)
    source = cause.source
    if source.truncated:
        return f"DROP  {cause.fate.reason}\n"
    with playing(node, courses.get((source.file, source.index))):
        passage = run_passage(node, Entry(device=source.device, frame=source.frame))
    return render_passage(passage, everything=False, paint=Paint(on=colour))
