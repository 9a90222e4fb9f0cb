"""What the renderers are given: one packet's story, as plain values.

A `Recorder` is the sink that collects events; `Trace` adds what the packet came to. Packets that
the first one caused (ARP questions, ICMP errors, a pod's own answer) are stories of their own in
the same list of events, told apart by their packet ids.
"""

from __future__ import annotations

from msgspec import Struct, field

from netemu.events import Event, FrameSent, KernelLogged, Stamp

Told = tuple[Stamp, Event]


class Recorder:
    """A sink that keeps every event in order."""

    __slots__ = ("told",)

    def __init__(self) -> None:
        """Start empty."""
        self.told: list[Told] = []

    def __call__(self, stamp: Stamp, event: Event) -> None:
        """Keep one event."""
        self.told.append((stamp, event))

    def take(self) -> list[Told]:
        """Return what was kept and start anew."""
        told, self.told = self.told, []
        return told


class PacketOut(Struct, frozen=True, kw_only=True):
    """A frame that left the node."""

    port: str
    frame: bytes
    packet_id: int


class Passage(Struct, kw_only=True):
    """One packet that was sent through the node, and all that it set off."""

    packet_id: int
    entered: str
    """`DEV` or `NS/DEV`; empty when the node sent the packet itself."""
    packet: bytes
    """The frame that entered, or the IP packet that the node sent."""
    verdict: str
    reason: str
    delivered_to: str | None
    rules_visited: int
    told: list[Told]
    shared_by: str = ""
    """The class of all packets that share this one's fate, in words."""

    def packets_out(self) -> list[PacketOut]:
        """Return every frame that left through a port, in order."""
        return [
            PacketOut(
                port=place(stamp.node, event.device),
                frame=event.frame,
                packet_id=stamp.packet_id,
            )
            for stamp, event in self.told
            if isinstance(event, FrameSent) and event.port
        ]

    def log_lines(self) -> list[str]:
        """Return the kernel-log lines, in order."""
        return [event.text for _, event in self.told if isinstance(event, KernelLogged)]


class OutcomeShare(Struct, frozen=True, kw_only=True):
    """One line of `--outcomes`."""

    probability: str
    """A reduced fraction, `715827883/2147483648`."""
    percent: float
    verdict: str
    dnat: str | None
    snat: str | None
    masquerade: bool
    delivered_to: str | None


class Trace(Struct, kw_only=True):
    """Everything that `netemu trace` knows about one packet."""

    source: str
    """Name of the node's file or directory."""
    seed: int
    kernel: str
    passage: Passage
    reply: Passage | None = None
    reply_note: str = ""
    """Why there is no reply, when one was asked for."""
    outcomes: list[OutcomeShare] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def passages(self) -> list[Passage]:
        """Return the packet's way and that of its answer."""
        return [self.passage] if self.reply is None else [self.passage, self.reply]


def place(node: str, device: str) -> str:
    """Return DEV, or NS/DEV outside the main namespace."""
    return f"{node}/{device}" if node else device
