"""Captures through a node: what came in is injected, what went out is compared.

Theory of operation: `Replay.feed` takes captured frames in order of time. A frame that entered the
node is injected at its device when the simulated clock has reached its time stamp. A frame that
the node itself sent is an expectation: it is matched with an equal frame that netemu sent out of
the same device, whichever of the two comes first. What remains unmatched at the end is the
difference between capture and netemu.

A frame entered the node if the capture says so (pcapng direction, SLL packet type); else if its
source MAC is none of the node's own, in a lab none of the host that is looked at. A bridge also
sends on the frames of others: once a bridge port's capture has shown frames of the node itself, so
that it holds both directions, a frame whose sender is known behind another port, or that netemu
just sent there, counts as sent.
"""

from __future__ import annotations

from functools import partial

from msgspec import Struct, field

from netemu.events import Event, FrameSent, Stamp
from netemu.link.bridge import Bridge
from netemu.netfilter.conntrack.connection import Connection
from netemu.netfilter.conntrack.table import Conntrack
from netemu.sim.matching import Matcher
from netemu.sim.node import Node
from netemu.sim.wiring import device_key
from netemu.skb import Device, Fate, Skb

ENTERED = "in"
"""`CapturedAt.direction` of a frame that came into the node; `out` is the other one."""


class CapturedAt(Struct, frozen=True, kw_only=True):
    """One captured frame with its place in the node."""

    time_ns: int
    device: str
    """`DEV` or `NS/DEV`."""
    frame: bytes
    """Ethernet frame."""
    file: str
    index: int
    """Number in its file, from 1."""
    direction: str = ""
    """`in`, `out`, or empty when the capture does not say."""
    truncated: bool = False
    """Whether snaplen cut it."""
    has_macs: bool = True
    """Whether the capture keeps both MAC addresses; cooked and raw ones do not."""


class Injected(Struct, kw_only=True):
    """A frame that was sent through the node, and its fate so far."""

    source: CapturedAt
    fate: Fate
    connection: str = ""
    """Its conntrack entry once it was through, as conntrack -L prints it."""


class SentAt(Struct, frozen=True, kw_only=True):
    """A frame that netemu sent out of a device."""

    time_ns: int
    device: str
    frame: bytes
    cause: int
    """packet_id of the packet."""


class Comparison(Struct, kw_only=True):
    """The node's own output against the capture of it."""

    met: int = 0
    unmet: list[CapturedAt] = field(default_factory=list)
    """Captured as sent by the node, but not sent by netemu."""
    extra: list[SentAt] = field(default_factory=list)
    """Sent by netemu out of a captured device while the capture ran, but not captured."""

    @property
    def equal(self) -> bool:
        """Whether every captured frame was sent, and no other."""
        return not self.unmet and not self.extra


class Replay:
    """One run of captured frames through a node."""

    __slots__ = (
        "_last_seen_ns",
        "_matcher",
        "_own_macs",
        "_with_output",
        "captured_devices",
        "injected",
        "node",
        "notes",
        "sent",
    )

    def __init__(self, node: Node, captured_devices: set[str]) -> None:
        """Watch `captured_devices` (of `DEV` or `NS/DEV`) for what the node sends there."""
        self.node = node
        self.captured_devices = captured_devices
        self.injected: list[Injected] = []
        self.sent: dict[str, list[SentAt]] = {name: [] for name in node.ports}
        """Every frame that left, by port."""
        self.notes: dict[str, int] = {}
        """What was noticed on the way, and how often."""
        self._matcher: Matcher[CapturedAt, SentAt] = Matcher()
        self._with_output: set[str] = set()
        """Devices whose captures hold what the node sent; others were taken of its input only."""
        self._last_seen_ns: dict[str, int] = {}
        self._own_macs = {
            device.mac
            for name, space in node.namespaces.items()
            for device in space.net.devices.values()
            if any(device.mac) and node.spec.is_of_host(name)
        }
        self._watch()

    def feed(self, item: CapturedAt) -> Injected | None:
        """Take the next captured frame; return what was injected, if it was."""
        self.node.run_until(item.time_ns)
        self._last_seen_ns[item.device] = item.time_ns
        if not item.has_macs:
            self._matcher.forget_macs(item.device)
        if self.entered(item):
            return self._inject(item)
        self._expect(item)
        return None

    def finish(self, until_ns: int) -> Comparison:
        """Let time pass until `until_ns`, then say how the output compares."""
        self.node.run_until(until_ns)
        matcher = self._matcher
        if matcher.met_but_id:
            self.notes[
                "the IP identification of packets that the node makes is drawn at random and was "
                "not compared"
            ] = matcher.met_but_id
        return Comparison(
            met=matcher.met,
            unmet=sorted(matcher.unmet(), key=lambda item: item.time_ns),
            extra=sorted(
                filter(self._was_captured, matcher.extra()), key=lambda item: item.time_ns
            ),
        )

    def note_lines(self) -> list[str]:
        """Return what was noticed on the way, a sentence each with its count."""
        return [f"{text} ({count})" for text, count in self.notes.items()]

    def _was_captured(self, item: SentAt) -> bool:
        if item.device not in self._with_output:
            return False
        return item.time_ns <= self._last_seen_ns[item.device]

    def _inject(self, item: CapturedAt) -> Injected:
        space, device = self.node.find_device(item.device)
        if item.truncated:
            fate = space.net.new_fate()
            fate.drop_reason = "CAPTURE_TRUNCATED"
        else:
            if len(item.frame) > device.mtu + 18:
                self._note(f"frames over the MTU of {item.device} (merged by GRO) are taken whole")
            fate = self.node.receive(item.device, item.frame)
        connection = fate.connection
        text = ""
        if isinstance(connection, Connection):
            text = space.net.generic(Conntrack).text(connection)
        injected = Injected(source=item, fate=fate, connection=text)
        self.injected.append(injected)
        return injected

    def _expect(self, item: CapturedAt) -> None:
        self._with_output.add(item.device)
        if item.truncated:
            self._note("frames cut by snaplen are compared as far as they go")
        self._matcher.captured(item, item.device, item.frame, cut=item.truncated)

    def entered(self, item: CapturedAt) -> bool:
        """Return whether a captured frame came into the node."""
        if item.direction:
            return item.direction == ENTERED
        source = item.frame[6:12]
        if source in self._own_macs:
            return False
        if item.device not in self._with_output:
            return True
        _, device = self.node.find_device(item.device)
        bridge = device.master
        if not isinstance(bridge, Bridge):
            return True
        return not (
            self._matcher.was_sent(item.device, item.frame)
            or self._known_behind_other_port(bridge, device, source)
        )

    def _known_behind_other_port(self, bridge: Bridge, device: Device, source: bytes) -> bool:
        known = bridge.fdb.find(source, 0)
        return known is not None and known.port is not None and known.port.device is not device

    def _watch(self) -> None:
        for name, port in self.node.ports.items():
            port.on_frame = partial(self._port_sent, name)
        inner = [name for name in self.captured_devices if name not in self.node.ports]
        if inner:
            self._watch_inner({self.node.full_name(name): name for name in inner})

    def _port_sent(self, name: str, skb: Skb, frame: bytes) -> None:
        self.note_sent(name, frame, skb.fate.packet_id, made=bool(skb.fate.parent_id))

    def _watch_inner(self, names: dict[str, str]) -> None:
        """Listen to the events of devices that are no ports, such as a bridge.

        `names` are those of the captures, by full name.
        """

        def sink(stamp: Stamp, event: Event) -> None:
            if isinstance(event, FrameSent) and not event.port:
                name = names.get(device_key(stamp.node, event.device))
                if name is not None:
                    made = bool(stamp.parent_id)
                    self.note_sent(name, event.frame, stamp.packet_id, made=made)

        self.node.set_sink(sink)

    def note_sent(self, name: str, frame: bytes, packet_id: int, *, made: bool) -> None:
        """Take note of a frame that the node sent out of a device; `made` it or forwarded it."""
        sent = SentAt(time_ns=self.node.clock.now_ns, device=name, frame=frame, cause=packet_id)
        if name in self.sent:
            self.sent[name].append(sent)
        if name in self.captured_devices:
            self._matcher.sent(sent, name, frame, made=made)

    def _note(self, text: str) -> None:
        self.notes[text] = self.notes.get(text, 0) + 1
