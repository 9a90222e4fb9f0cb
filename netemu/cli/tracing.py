"""Runs one packet and its answer through a node with every event recorded."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

from netemu.events import FrameSent, PacketMade
from netemu.sim.fate_class import fate_class
from netemu.sim.node import Node
from netemu.sim.probe import Entry, Outcome, delivered_to
from netemu.trace.model import OutcomeShare, Passage, Recorder, place
from netemu.wire.answer import answer_to
from netemu.wire.describe import describe_frame

ANSWER_AFTER_NS = 1_000_000
"""The other end answers a millisecond later."""


def run_passage(node: Node, entry: Entry) -> Passage:
    """Send a packet and record all that it sets off at this instant."""
    recorder = Recorder()
    node.set_sink(recorder)
    fate = entry.send(node)
    told = recorder.take()
    node.set_sink(None)
    alike = fate_class(node, entry, fate.packet_id, told)
    return Passage(
        packet_id=fate.packet_id,
        entered=entry.device,
        packet=entry.frame or entry.packet,
        verdict=fate.verdict,
        reason=fate.reason,
        delivered_to=delivered_to(fate),
        rules_visited=fate.rules_visited,
        told=told,
        shared_by=alike.text if alike is not None else "",
    )


def run_reply(node: Node, passage: Passage) -> tuple[Passage | None, str]:
    """Let the other end answer; return the answer's way, or why there is none."""
    own = [out for out in passage.packets_out() if out.packet_id == passage.packet_id]
    if not own:
        if passage.delivered_to:
            return None, "the node itself took the packet; its answer is part of the trace above"
        if any(isinstance(event, PacketMade) for _, event in passage.told):
            return None, "the node answers itself; that is part of the trace above"
        return None, "the packet did not get to anybody"
    answer = answer_to(own[0].frame)
    if answer is None:
        return None, f"nobody answers {describe_frame(own[0].frame)}"
    node.run_until(node.clock.now_ns + ANSWER_AFTER_NS)
    return run_passage(node, Entry(device=own[0].port, frame=answer)), ""


def share_of(outcome: Outcome) -> OutcomeShare:
    """Return an outcome as the renderers want it."""
    share: Fraction = outcome.probability
    return OutcomeShare(
        probability=f"{share.numerator}/{share.denominator}",
        percent=float(share * 100),
        verdict=outcome.verdict,
        dnat=outcome.dnat,
        snat=outcome.snat,
        masquerade=outcome.masquerade,
        delivered_to=outcome.delivered_to,
    )


def frames_left(passage: Passage) -> list[tuple[str, bytes]]:
    """Return (port, frame) of everything that left during a passage."""
    return [
        (place(stamp.node, event.device), event.frame)
        for stamp, event in passage.told
        if isinstance(event, FrameSent) and event.port
    ]


Build = Callable[[], Node]
"""Makes a fresh node in the state in which the packet meets it."""
