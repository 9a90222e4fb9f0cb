"""A lab's log: each frame at its device, what was lost and why, and what clients saw.

As text for people, one line each; as plain records for JSON; as pcapng with an interface for each
device, which Wireshark shows in one list.
"""

from __future__ import annotations

from msgspec import Struct

from netemu.events import Event, FrameReceived, FrameSent, PacketDropped, PacketMade, Stamp
from netemu.trace.model import place
from netemu.wire.capture import Direction, Writer
from netemu.wire.describe import describe_frame, describe_packet
from netemu.wire.pcapng_writer import PcapngWriter

QUIET_REASONS = frozenset({"OTHERHOST"})
"""A frame for somebody else that a bridge or switch flooded: nothing was lost."""


class LoggedFrame(Struct, frozen=True, kw_only=True):
    """A frame at a device."""

    time_ns: int
    device: str
    """HOST/DEV or HOST/POD/DEV."""
    direction: str
    """`out` or `in`."""
    frame: bytes
    packet_id: int
    parent_id: int

    def record(self) -> dict[str, object]:
        """Return plain values."""
        return {
            "time_ns": self.time_ns,
            "device": self.device,
            "direction": self.direction,
            "packet_id": self.packet_id,
            "parent_id": self.parent_id or None,
            "text": describe_frame(self.frame),
            "frame": self.frame.hex(),
        }

    def line(self) -> str:
        """Return one line."""
        arrow = ">" if self.direction == "out" else "<"
        text = describe_frame(self.frame)
        return f"{clock(self.time_ns)}  {self.device:<20} {arrow} {text}, {len(self.frame)} octets"


class LoggedDrop(Struct, frozen=True, kw_only=True):
    """A packet that ended badly."""

    time_ns: int
    namespace: str
    reason: str
    detail: str
    packet_id: int
    packet: str
    """The packet as it was seen last."""

    def record(self) -> dict[str, object]:
        """Return plain values."""
        return {
            "time_ns": self.time_ns,
            "namespace": self.namespace,
            "packet_id": self.packet_id,
            "reason": self.reason,
            "detail": self.detail,
            "packet": self.packet,
        }

    def line(self) -> str:
        """Return one line."""
        why = f", {self.detail}" if self.detail else ""
        return f"{clock(self.time_ns)}  {self.namespace:<20} x {self.reason}{why}: {self.packet}"


def clock(time_ns: int) -> str:
    """Return seconds with six digits behind the point.

    >>> clock(1_500_000)
    '   0.001500'
    """
    return f"{time_ns / 1e9:11.6f}"


class FrameLog:
    """Picks from the events of a lab what a log keeps."""

    def __init__(self) -> None:
        """Start without packets."""
        self._frames: dict[int, bytes] = {}
        self._made: dict[int, bytes] = {}
        """By packet id: the last frame, and what the node made."""

    def item(self, stamp: Stamp, event: Event) -> LoggedFrame | LoggedDrop | None:
        """Return what a log keeps of an event, None for nothing."""
        if isinstance(event, PacketMade):
            self._made[stamp.packet_id] = event.packet
            return None
        if isinstance(event, FrameSent | FrameReceived):
            self._frames[stamp.packet_id] = event.frame
            return LoggedFrame(
                time_ns=stamp.time_ns,
                device=place(stamp.node, event.device),
                direction="out" if isinstance(event, FrameSent) else "in",
                frame=event.frame,
                packet_id=stamp.packet_id,
                parent_id=stamp.parent_id,
            )
        if isinstance(event, PacketDropped) and event.reason not in QUIET_REASONS:
            return LoggedDrop(
                time_ns=stamp.time_ns,
                namespace=stamp.node,
                reason=event.reason,
                detail=event.detail,
                packet_id=stamp.packet_id,
                packet=self._text(stamp.packet_id),
            )
        return None

    def _text(self, packet_id: int) -> str:
        frame = self._frames.get(packet_id)
        if frame is not None:
            return describe_frame(frame)
        return describe_packet(self._made.get(packet_id, b""))


class FrameCapture:
    """Writes the frames of all devices as one pcapng."""

    def __init__(self, write: Writer, *, comment: str) -> None:
        """Begin the capture."""
        self._writer = PcapngWriter(write, comment=comment)
        self._interfaces: dict[str, int] = {}

    def add(self, item: LoggedFrame, frame: bytes) -> None:
        """Append `frame`, the logged one with its checksums completed."""
        number = self._interfaces.get(item.device)
        if number is None:
            number = self._interfaces[item.device] = self._writer.add_interface(item.device)
        outbound = item.direction == "out"
        self._writer.write(
            number,
            item.time_ns,
            frame,
            direction=Direction.OUTBOUND if outbound else Direction.INBOUND,
            packet_id=item.packet_id,
        )
