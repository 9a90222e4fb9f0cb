"""A trace as pcapng: an interface per device, what happened there as the frame's comments.

Hop k of a packet gets its time plus k nanoseconds, so that viewers keep the order; all hops of one
packet share a packet id. Only frames are written, each Ethernet, since libpcap refuses a file
whose interfaces differ in link type.
"""

from __future__ import annotations

from msgspec import Struct

from netemu.events import FrameReceived, FrameSent, Stamp
from netemu.trace.model import Passage, Told, Trace, place
from netemu.trace.rows import rows_of
from netemu.wire.capture import Direction, Writer
from netemu.wire.pcapng_writer import PcapngWriter, TcVerdict


class Hop(Struct, kw_only=True):
    """A frame at a device and what the node did until the next one."""

    stamp: Stamp
    device: str
    frame: bytes
    direction: Direction
    told: list[Told]
    """Events from the frame on, before the next frame of the same packet."""


def hops_of(passage: Passage) -> list[Hop]:
    """Return the frames of a passage; each event goes to its packet's frame before it."""
    hops: list[Hop] = []
    last: dict[int, Hop] = {}
    early: dict[int, list[Told]] = {}
    for stamp, event in passage.told:
        if isinstance(event, FrameReceived | FrameSent):
            hop = Hop(
                stamp=stamp,
                device=place(stamp.node, event.device),
                frame=event.frame,
                direction=(
                    Direction.INBOUND if isinstance(event, FrameReceived) else Direction.OUTBOUND
                ),
                told=[*early.pop(stamp.packet_id, []), (stamp, event)],
            )
            hops.append(hop)
            last[stamp.packet_id] = hop
        elif stamp.packet_id in last:
            last[stamp.packet_id].told.append((stamp, event))
        else:
            early.setdefault(stamp.packet_id, []).append((stamp, event))
    return hops


def write_hops(trace: Trace, write: Writer) -> None:
    """Write both ways of a trace as one capture."""
    comment = f"netemu trace of {trace.source}, seed {trace.seed}, Linux {trace.kernel}"
    writer = PcapngWriter(write, comment=comment)
    hops = [(passage, hop) for passage in trace.passages() for hop in hops_of(passage)]
    interfaces: dict[str, int] = {}
    for _, hop in hops:
        if hop.device not in interfaces:
            interfaces[hop.device] = writer.add_interface(hop.device)
    for number, (passage, hop) in enumerate(hops):
        ended = hop.stamp.packet_id == passage.packet_id and passage.verdict in {"DROP", "REJECT"}
        writer.write(
            interfaces[hop.device],
            hop.stamp.time_ns + number,
            hop.frame,
            direction=hop.direction,
            comments=[row.line() for row in rows_of(hop.told)],
            packet_id=hop.stamp.packet_id,
            verdict=TcVerdict.SHOT if ended else None,
        )
