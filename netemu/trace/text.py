"""The view for eyes: the verdict first, then the stages in order, a row per step.

Colours are ANSI sequences and come only when asked for; without them the text is plain.
"""

from __future__ import annotations

from collections.abc import Iterable

from netemu import events
from netemu.trace.model import OutcomeShare, Passage, Told, Trace
from netemu.trace.rows import Row, rows_of
from netemu.wire.describe import describe_frame, describe_packet

STAGE_WIDTH = 13
MAXIMUM_PLACE_WIDTH = 30
CLASS = "CLASS"
"""Heads the line about all packets that fare alike."""
MAXIMUM_MARK_WIDTH = 6

_CODES = {
    "good": "32",
    "bad": "31",
    "miss": "2",
    "detail": "2",
    "change": "36",
    "stage": "1",
    "comment": "2",
    "ACCEPT": "1;32",
    "DROP": "1;31",
    "REJECT": "1;31",
    "QUEUE": "1;33",
    "STOLEN": "1;33",
}


class Paint:
    """Wraps text in ANSI colours, or leaves it alone."""

    __slots__ = ("on",)

    def __init__(self, *, on: bool) -> None:
        """Paint when `on`."""
        self.on = on

    def __call__(self, text: str, tone: str) -> str:
        """Return `text` in the colour of `tone`."""
        code = _CODES.get(tone)
        return f"\033[{code}m{text}\033[0m" if self.on and code and text else text


def render_text(trace: Trace, *, everything: bool = False, colour: bool = False) -> str:
    """Return the whole view."""
    paint = Paint(on=colour)
    parts = [render_passage(trace.passage, everything=everything, paint=paint)]
    if trace.reply is not None:
        parts.append(paint("the answer", "stage"))
        parts.append(render_passage(trace.reply, everything=everything, paint=paint))
    elif trace.reply_note:
        parts.append(f"no answer: {trace.reply_note}\n")
    if trace.outcomes:
        parts.append(outcome_lines(trace.outcomes, paint))
    return "\n".join(parts)


def render_passage(passage: Passage, *, everything: bool, paint: Paint) -> str:
    """Return one packet's way: verdict, headline, steps, then the packets that it caused."""
    lines = [_verdict_line(passage, paint), headline(passage)]
    by_packet = _split(passage.told)
    width = _place_width(passage.told, everything=everything)
    for packet_id, told in by_packet.items():
        if packet_id != passage.packet_id:
            lines.append(_caused_line(packet_id, told))
        lines += _row_lines(rows_of(told, everything=everything), width, paint)
        if packet_id == passage.packet_id and passage.shared_by:
            lines.append(f"  {paint(f'{CLASS:<{STAGE_WIDTH}}', 'stage')}{passage.shared_by}")
    return "\n".join(lines) + "\n"


def _split(told: Iterable[Told]) -> dict[int, list[Told]]:
    """Group events by packet, in order of each packet's first event."""
    groups: dict[int, list[Told]] = {}
    for stamp, event in told:
        groups.setdefault(stamp.packet_id, []).append((stamp, event))
    return groups


def _verdict_line(passage: Passage, paint: Paint) -> str:
    return f"{paint(passage.verdict, passage.verdict)}  {what_became(passage)}".rstrip()


def what_became(passage: Passage) -> str:
    """Say in words what a packet came to.

    The words for the end, then what changed on the way.
    """
    if passage.verdict == "ACCEPT":
        text = _accepted(passage)
    elif passage.verdict == "STOLEN":
        waits = [event.where for _, event in passage.told if isinstance(event, events.PacketQueued)]
        text = f"still held, waits for {waits[-1]}" if waits else "still held"
    else:
        text = passage.reason
    decided = _decided_by(passage)
    return f"{text} {decided}".strip() if passage.verdict != "ACCEPT" else text


def _accepted(passage: Passage) -> str:
    own = [out for out in passage.packets_out() if out.packet_id == passage.packet_id]
    takers = [
        event.what
        for stamp, event in passage.told
        if isinstance(event, events.PacketDelivered) and stamp.packet_id == passage.packet_id
    ]
    words = []
    if own:
        ports = ", ".join(dict.fromkeys(out.port for out in own))
        became = describe_frame(own[-1].frame)
        words.append(f"left through {ports} as {became}")
    if takers and passage.delivered_to:
        where = passage.delivered_to.removeprefix("node:")
        words.append(f"delivered to {where} ({takers[-1]})")
    return ", ".join(words) or (passage.delivered_to or "")


def _decided_by(passage: Passage) -> str:
    """Name the rule or policy that ended a packet, if one did."""
    for stamp, event in reversed(passage.told):
        if stamp.packet_id != passage.packet_id or not isinstance(event, events.VerdictIssued):
            continue
        if event.verdict == "ACCEPT":
            return ""
        place = f"{event.table}/{event.chain}"
        if event.policy:
            return f"by the policy of {place}"
        return f"by {place} " + (f":{event.line}" if event.line is not None else f"#{event.rule}")
    return ""


def headline(passage: Passage) -> str:
    """Return the line that names a packet and where it came from."""
    if passage.entered:
        return f"#{passage.packet_id} {describe_frame(passage.packet)}  in {passage.entered}"
    sender = passage.told[0][0].node if passage.told else ""
    return f"#{passage.packet_id} {describe_packet(passage.packet)}  sent by {sender or 'the node'}"


def _caused_line(packet_id: int, told: list[Told]) -> str:
    stamp = told[0][0]
    what = ""
    for _, event in told:
        if isinstance(event, events.PacketMade):
            what = event.what
            break
        if isinstance(event, events.FrameSent | events.FrameReceived):
            what = describe_frame(event.frame)
            break
    because = f", caused by #{stamp.parent_id}" if stamp.parent_id else ""
    return f"#{packet_id} {what}{because}"


def _place_width(told: list[Told], *, everything: bool) -> int:
    widths = [len(row.place) for row in rows_of(told, everything=everything)]
    return min(max(widths, default=0), MAXIMUM_PLACE_WIDTH)


def _row_lines(rows: list[Row], width: int, paint: Paint) -> list[str]:
    lines = []
    last = ("", "")
    for row in rows:
        if row.namespace != last[1]:
            lines.append(f"  in namespace {row.namespace}" if row.namespace else "  in the node")
        same = (row.stage, row.namespace) == last
        last = (row.stage, row.namespace)
        stage = paint(f"{'' if same else row.stage:<{STAGE_WIDTH}}", "stage")
        lines.append(f"  {stage}{_body(row, width, paint)}".rstrip())
    return lines


def _body(row: Row, width: int, paint: Paint) -> str:
    left = f"{row.place:<{width}}  "
    mark = f"{row.mark + ' ':<{MAXIMUM_MARK_WIDTH}}" if row.mark else ""
    tone = row.tone if row.tone != "change" else ""
    parts = [paint(row.text, tone)] if row.text else []
    effect_tone = "miss" if row.tone == "miss" else "change"
    parts += [paint(effect, effect_tone) for effect in row.effects]
    if row.comment:
        parts.append(paint(f'"{row.comment}"', "comment"))
    return left + mark + "  ".join(parts)


def outcome_lines(outcomes: Iterable[OutcomeShare], paint: Paint) -> str:
    """Return a line for each outcome, below their headline."""
    lines = [paint("outcomes", "stage")]
    for share in outcomes:
        words = [f"  {share.probability:>22}  {share.percent:8.4f} %  {share.verdict}"]
        if share.dnat:
            words.append(f"to {share.dnat}")
        if share.masquerade:
            words.append("masqueraded")
        elif share.snat:
            words.append(f"from {share.snat}")
        if share.delivered_to:
            words.append(share.delivered_to)
        lines.append("  ".join(words))
    return "\n".join(lines) + "\n"
